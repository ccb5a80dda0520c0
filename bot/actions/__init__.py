"""The registry of actions: one line for each key of `do`."""

from collections.abc import Mapping
from inspect import isabstract
from types import MappingProxyType

from bot.actions.base import Action, Spec
from bot.actions.delete import DELETE
from bot.actions.enabled import ENABLED
from bot.actions.notifier import DigestOfMany, Notifier
from bot.actions.notify import NOTIFY
from bot.actions.recording import RECORDING
from bot.actions.recording_rate import RECORDING_RATE
from bot.actions.share import SHARE
from bot.actions.slack import SLACK
from bot.actions.star import STAR
from bot.actions.tag import TAG, UNTAG
from bot.actions.variables import VARIABLES
from bot.actions.watched import WATCHED
from bot.actions.webhook import WEBHOOK
from bot.domain.causes import SERVICES

_SPECS: tuple[Spec, ...] = (
    TAG,
    UNTAG,
    STAR,
    WATCHED,
    VARIABLES,
    SHARE,
    DELETE,
    RECORDING,
    RECORDING_RATE,
    ENABLED,
    SLACK,
    NOTIFY,
    WEBHOOK,
)

WRITTEN: Mapping[str, Spec] = MappingProxyType({spec.key: spec for spec in _SPECS})
"""Each key of `do`, in the order of the docs."""

ACTIONS: Mapping[str, type[Action]] = MappingProxyType(
    {model.kind: model for spec in _SPECS for model in spec.models}
)
"""The model of each kind of step: how the store reads a step back."""

DIGESTS: Mapping[str, str] = MappingProxyType(
    {kind: model.digest for kind, model in ACTIONS.items() if model.digest}
)
"""The kinds of posts that limits may hold back, each with the kind of digest for them."""

AFTER_QUIET: Mapping[str, str] = MappingProxyType(
    {kind: model.after_quiet for kind, model in ACTIONS.items() if issubclass(model, DigestOfMany)}
)
"""The kinds of digests, each with the kind that tells what waited in a quiet time."""

IRREVERSIBLE = frozenset(kind for kind, model in ACTIONS.items() if model.irreversible)
"""The kinds of steps that can't be undone."""

IF_HELD_BACK: Mapping[str, str] = MappingProxyType(
    {kind: model.if_held_back for kind, model in ACTIONS.items() if model.if_held_back}
)
"""What is done instead of posts that limits hold back: an edit, which notifies nobody."""

if abstract := sorted(kind for kind, model in ACTIONS.items() if isabstract(model)):
    raise TypeError(f"actions that leave a method out: {', '.join(abstract)}")
if unknown := {it.service for it in ACTIONS.values() if issubclass(it, Notifier)} - SERVICES.keys():
    raise TypeError(f"services that bot.domain.causes does not know: {', '.join(sorted(unknown))}")
if unsaid := [kind for kind, model in ACTIONS.items() if not hasattr(model, "quotes_visitors")]:
    raise TypeError(f"actions that leave quotes_visitors out: {', '.join(unsaid)}")
if unregistered := sorted(set(DIGESTS.values()) - ACTIONS.keys()):
    raise TypeError(f"digests without a model: {', '.join(unregistered)}")
