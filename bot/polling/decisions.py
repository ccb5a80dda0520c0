"""Which rules match a recording by what is known of it, and which are undecided."""

from collections.abc import Sequence

from bot.domain.subjects import RecordingSubject
from bot.polling.candidates import Candidate, Scope, without_page_views
from bot.polling.filter_checks import FILTERS, FilterChecks
from bot.rules.evaluate import Decision
from bot.rules.model import Rule


class Decisions:
    """The decisions about these candidates; what was decided about a recording is remembered.

    `filters` are those that work, as far as is known by now: a rule that needs another one can't
    be decided. `kept` are the recordings of which only the page views of an earlier detail are
    known, `stale` the finished ones whose row is old.
    """

    def __init__(
        self, scope: Scope, filters: FilterChecks, candidates: Sequence[Candidate] = ()
    ) -> None:
        self.filters = filters
        self.kept = frozenset(
            it.row.id for it in candidates if it.row.page_views is None and it.views is not None
        )
        self.unlisted = frozenset(it.row.id for it in candidates if it.unlisted)
        self.settled = frozenset(it.row.id for it in candidates if it.settled)
        self.stale = frozenset(it.row.id for it in candidates if it.stale and it.settled)
        self._rules, self._matched = scope.rules, scope.matched
        self._known: dict[tuple[str, bool], tuple[RecordingSubject, Decision]] = {}

    def sure(self, subject: RecordingSubject, settled: bool) -> list[Rule]:
        """The rules that are about to match the recording."""
        return self.in_play(subject.key, self._decide(subject, settled).sure)

    def may_match(self, subject: RecordingSubject) -> bool:
        """Whether any rule matches or may still match the recording, which is final."""
        return any(self._decide(subject, True))

    def may_ever_match(self, subject: RecordingSubject) -> bool:
        """Like `may_match`, but remembers only decisions of recordings that may match.

        For days of many rows, most of which are dropped at once.
        """
        decision = self._decided(subject, True)
        if not any(decision):
            return False
        self._known[subject.key, True] = subject, decision
        return True

    def _decide(self, subject: RecordingSubject, settled: bool) -> Decision:
        """The rules that match, and those whose outcome depends on what is not known.

        Each step of the ladder asks this again of recordings that it learnt nothing about.
        """
        about, decision = self._known.get((subject.key, settled), (None, None))
        if about is not subject or decision is None:
            decision = self._decided(subject, settled)
            self._known[subject.key, settled] = subject, decision
        return decision

    def _decided(self, subject: RecordingSubject, settled: bool) -> Decision:
        """Page views of an earlier detail say nothing to rules that read tags, which may be new."""
        group = self._rules.group(settled)
        decision = group.decide(subject)
        if subject.key not in self.kept:
            return decision
        bare, beyond = group.decide(without_page_views(subject)), self._rules.beyond_pages
        sure, undecided = (
            tuple(
                rule
                for rule in group.rules
                if rule in (without if rule.id in beyond else with_views)
            )
            for with_views, without in zip(decision, bare, strict=True)
        )
        return Decision(sure, undecided)

    def lacks(self, rule: Rule, subject: RecordingSubject) -> bool:
        """Whether a detail still tells something that a match of the rule reads."""
        read = self._read_by(rule, subject)
        return self.may_be_gone(rule, subject.key) or self._rules.lacks(rule, read)

    def may_be_gone(self, rule: Rule, key: str) -> bool:
        """Whether filters that the rule reads may leave the recording out for it is deleted."""
        return key in self.unlisted and rule.id in self._rules.needing(FILTERS)

    def lacks_group(self, rule: Rule, subject: RecordingSubject) -> bool:
        """Whether a detail still tells by what `once_per` or `count` group the recording."""
        return self._rules.lacks_group(rule, self._read_by(rule, subject))

    def _read_by(self, rule: Rule, subject: RecordingSubject) -> RecordingSubject:
        """The recording as far as the rule may read it: only the pages of a detail are kept."""
        blind = subject.key in self.kept and rule.id in self._rules.beyond_pages
        return without_page_views(subject) if blind else subject

    def undecided(self, subject: RecordingSubject, settled: bool) -> list[Rule]:
        """The rules on which another call may decide; not those that a filter suspends."""
        rules = self.in_play(subject.key, self._decide(subject, settled).open)
        if not self.filters.suspended:
            return rules
        suspended = self._rules.needing(self.filters.suspended)
        return [rule for rule in rules if rule.id not in suspended]

    def in_play(self, key: str, rules: Sequence[Rule]) -> list[Rule]:
        """The rules that have not matched the recording before."""
        before = self._matched.get(key)
        if not before:
            return list(rules)
        return [rule for rule in rules if rule.id not in before and before.isdisjoint(rule.was)]
