"""The benchmark's rules in the words of each engine: ours, hand-written Python, and published ones.

An engine is a function from rules to a matcher, and a matcher one from records to lists of
indexes. Engines that are not installed are left out, by name.
"""

import importlib.metadata
import json
from collections.abc import Callable

from bot.rules.index import RuleIndex
from bot.rules.model import All, AnyOf, Not, OneItem, Rule, Test
from bot.rules.operators.figures import Bounds
from bot.rules.operators.texts import OneOf

CATALOGUE_NAMES = {"referrerType": "referrer_type", "entryPage": "entry_page"}
ATTRIBUTES = {"referrerType": "referrer_type", "entryPage": "entry_page"}


def condition(rule: tuple):
    """The rule as the bot's own condition."""
    match rule:
        case ("all", *parts):
            return All(tuple(map(condition, parts)))
        case ("any", *parts):
            return AnyOf(tuple(map(condition, parts)))
        case ("not", part):
            return Not(condition(part))
        case ("eq", field, values):
            return Test(CATALOGUE_NAMES.get(field, field), OneOf(tuple(values)))
        case ("min" | "over" | "under" as bound, field, value):
            return Test(field, Bounds(**{bound: value}))
        case ("prefix", field, prefix):
            return Test(CATALOGUE_NAMES[field], OneOf((prefix + "*",)))
        case ("tag", tag):
            return Test("tags", OneOf((tag,)))
        case ("var", key, value):
            return Test("variables", OneOf((value,)), key)
        case ("saw", prefix):
            return Test("saw_page", OneOf((prefix + "*",)))
        case ("page", prefix, ms):
            path = Test("path", OneOf((prefix + "*",)))
            return OneItem("page", (path, Test("time", Bounds(over=ms))))
    raise ValueError(rule)


def bot_rules(rules: list[tuple]) -> list[Rule]:
    return [
        Rule(id=f"r{number}", watch="recordings", when=condition(rule), do=())
        for number, rule in enumerate(rules)
    ]


def compiled(rules: list[Rule]) -> RuleIndex:
    """The bot's index of the rules, with cold tables: it compiles itself at the first question."""
    index = RuleIndex(rules)
    index.sure_of_all(())
    return index


def ours(rules: list[tuple]) -> Callable:
    return compiled(bot_rules(rules)).sure_of_all


def python(rule: tuple) -> str:
    """The rule as a person would write it in Python, over a typed recording `r`."""
    match rule:
        case ("all", *parts):
            return " and ".join(map(_bracketed, parts))
        case ("any", *parts):
            return " or ".join(map(_bracketed, parts))
        case ("not", part):
            return f"not {_bracketed(part)}"
        case ("eq", field, [value]):
            return f"r.{ATTRIBUTES.get(field, field)} == {value!r}"
        case ("eq", field, values):
            return f"r.{ATTRIBUTES.get(field, field)} in {tuple(values)!r}"
        case ("min", field, value):
            return f"r.{field} is not None and r.{field} >= {value}"
        case ("over" | "under" as bound, field, value):
            return f"r.{field} is not None and r.{field} {'>' if bound == 'over' else '<'} {value}"
        case ("prefix", _, prefix):
            return f"(r.entry_page or '').startswith({prefix!r})"
        case ("tag", tag):
            return f"{tag!r} in r.tags or any({tag!r} in v.tags for v in r.page_views or ())"
        case ("var", key, value):
            return f"{key + '=' + value!r} in r.variables"
        case ("saw", prefix):
            return (
                f"(r.entry_page or '').startswith({prefix!r}) or "
                f"any(v.website_page.startswith({prefix!r}) for v in r.page_views or ())"
            )
        case ("page", prefix, ms):
            return (
                f"any(v.website_page.startswith({prefix!r}) and v.visit_time > {ms} "
                "for v in r.page_views or ())"
            )
    raise ValueError(rule)


def _bracketed(rule: tuple) -> str:
    return f"({python(rule)})"


def hand_written(rules: list[tuple]) -> Callable:
    namespace: dict = {}
    source = "\n".join(f"def f{n}(r):\n    return {python(rule)}" for n, rule in enumerate(rules))
    exec(compile(source, "<hand-written>", "exec"), namespace)
    functions = [(number, namespace[f"f{number}"]) for number in range(len(rules))]

    def run(subjects):
        found = []
        for subject in subjects:
            r = subject.recording
            found.append([number for number, function in functions if function(r)])
        return found

    return run


def _phrase(words: dict[str, str], glue: tuple[str, str, str]) -> Callable[[tuple], str]:
    """A translator for engines with an infix language; `words` holds a phrase per test."""
    conjunction, disjunction, negation = glue

    def say(rule: tuple) -> str:
        match rule:
            case ("all", *parts):
                return "(" + f" {conjunction} ".join(map(say, parts)) + ")"
            case ("any", *parts):
                return "(" + f" {disjunction} ".join(map(say, parts)) + ")"
            case ("not", part):
                return f"{negation}({say(part)})"
            case ("eq", field, values):
                each = [words["eq"].format(field=field, value=value) for value in values]
                return "(" + f" {disjunction} ".join(each) + ")"
            case ("saw" | "tag", text):
                return "(" + words[rule[0]].format(text=text) + ")"
            case ("var", key, value):
                return words["var"].format(text=f"{key}={value}")
            case ("page", prefix, ms):
                return words["page"].format(text=prefix, ms=ms)
            case (test, field, value):
                return words[test].format(field=field, value=value)
        raise ValueError(rule)

    return say


def evalidate(rules: list[tuple]) -> Callable:
    from evalidate import Expr, base_eval_model

    model = base_eval_model.clone()
    model.nodes += ["Call", "List", "Tuple"]
    helpers = {"starts": _starts, "tagged": _tagged, "saw": _saw, "page": _page}
    model.allowed_functions += list(helpers)
    say = _phrase(
        {
            "min": "{field} >= {value}",
            "over": "{field} > {value}",
            "under": "{field} < {value}",
            "prefix": "starts({field}, '{value}')",
            "tag": "tagged(tags, pageViews, '{text}')",
            "var": "'{text}' in variables",
            "saw": "saw(entryPage, pageViews, '{text}')",
            "page": "page(pageViews, '{text}', {ms})",
            "eq": "{field} == '{value}'",
        },
        ("and", "or", "not "),
    )
    codes = [(number, Expr(say(rule), model=model).code) for number, rule in enumerate(rules)]
    scope = {"__builtins__": {}, **helpers}

    def run(records):
        # As its documentation advises for speed: the checked code, evaluated directly.
        return [[n for n, code in codes if eval(code, scope, record)] for record in records]

    return run


def _starts(text, prefix):
    return text is not None and text.startswith(prefix)


def _tagged(tags, views, tag):
    return tag in tags or any(tag in view["tags"] for view in views or ())


def _saw(entry, views, prefix):
    return _starts(entry, prefix) or any(
        view["websitePage"].startswith(prefix) for view in views or ()
    )


def _page(views, prefix, ms):
    return any(
        view["websitePage"].startswith(prefix) and view["visitTime"] > ms for view in views or ()
    )


def rule_engine(rules: list[tuple]) -> Callable:
    import rule_engine as engine

    some = "[v for v in pageViews if {}].length > 0"
    views = "(pageViews != null and " + some + ")"
    say = _phrase(
        {
            "min": "{field} >= {value}",
            "over": "{field} > {value}",
            "under": "{field} < {value}",
            "prefix": "{field} =~ '{value}.*'",
            "tag": "'{text}' in tags or " + views.format("'{text}' in v['tags']"),
            "var": "'{text}' in variables",
            "saw": "entryPage =~ '{text}.*' or " + views.format("v['websitePage'] =~ '{text}.*'"),
            "page": views.format("v['websitePage'] =~ '{text}.*' and v['visitTime'] > {ms}"),
            "eq": "{field} == '{value}'",
        },
        ("and", "or", "not "),
    )
    context = engine.Context(resolver=engine.resolve_item, default_value=None)
    made = [(n, engine.Rule(say(rule), context=context)) for n, rule in enumerate(rules)]
    return lambda records: [[n for n, rule in made if rule.matches(it)] for it in records]


def jmespath(rules: list[tuple]) -> Callable:
    import jmespath as engine

    views = "length((pageViews || `[]`)[?{}]) > `0`"
    say = _phrase(
        {
            "min": "{field} >= `{value}`",
            "over": "{field} > `{value}`",
            "under": "{field} < `{value}`",
            "prefix": "starts_with({field} || '', '{value}')",
            "tag": "contains(tags, '{text}') || " + views.format("contains(tags, '{text}')"),
            "var": "contains(variables, '{text}')",
            "saw": "starts_with(entryPage || '', '{text}') || "
            + views.format("starts_with(websitePage, '{text}')"),
            "page": views.format("starts_with(websitePage, '{text}') && visitTime > `{ms}`"),
            "eq": "{field} == '{value}'",
        },
        ("&&", "||", "!"),
    )
    made = [(n, engine.compile(say(rule))) for n, rule in enumerate(rules)]
    return lambda records: [[n for n, rule in made if rule.search(it)] for it in records]


def cel(rules: list[tuple]) -> Callable:
    import celpy

    views = "pageViews.exists(v, {})"
    say = _phrase(
        {
            "min": "{field} >= {value}",
            "over": "{field} > {value}",
            "under": "{field} < {value}",
            "prefix": "{field}.startsWith('{value}')",
            "tag": "'{text}' in tags || " + views.format("'{text}' in v.tags"),
            "var": "'{text}' in variables",
            "saw": "entryPage.startsWith('{text}') || "
            + views.format("v.websitePage.startsWith('{text}')"),
            "page": views.format("v.websitePage.startsWith('{text}') && v.visitTime > {ms}"),
            "eq": "{field} == '{value}'",
        },
        ("&&", "||", "!"),
    )
    environment = celpy.Environment()
    made = [(n, environment.program(environment.compile(say(r)))) for n, r in enumerate(rules)]
    return lambda activations: [
        [n for n, program in made if program.evaluate(it)] for it in activations
    ]


def json_logic(rule: tuple):
    """The rule as JsonLogic."""
    match rule:
        case ("all", *parts):
            return {"and": list(map(json_logic, parts))}
        case ("any", *parts):
            return {"or": list(map(json_logic, parts))}
        case ("not", part):
            return {"!": [json_logic(part)]}
        case ("eq", field, values):
            return {"in": [{"var": field}, values]}
        case ("min" | "over" | "under" as bound, field, value):
            operator = {"min": ">=", "over": ">", "under": "<"}[bound]
            return {operator: [{"var": field}, value]}
        case ("prefix", field, prefix):
            return {"starts_with": [{"var": field}, prefix]}
        case ("tag", tag):
            on_page = {"some": [{"var": "pageViews"}, {"in": [tag, {"var": "tags"}]}]}
            return {"or": [{"in": [tag, {"var": "tags"}]}, on_page]}
        case ("var", key, value):
            return {"in": [f"{key}={value}", {"var": "variables"}]}
        case ("saw", prefix):
            here = {"starts_with": [{"var": "websitePage"}, prefix]}
            first = {"starts_with": [{"var": "entryPage"}, prefix]}
            return {"or": [first, {"some": [{"var": "pageViews"}, here]}]}
        case ("page", prefix, ms):
            here = {"starts_with": [{"var": "websitePage"}, prefix]}
            both = {"and": [here, {">": [{"var": "visitTime"}, ms]}]}
            return {"some": [{"var": "pageViews"}, both]}
    raise ValueError(rule)


def datalogic(rules: list[tuple]) -> Callable:
    from datalogic_py import Engine

    engine = Engine()
    session = engine.session()
    made = [(n, engine.compile(json.dumps(json_logic(rule)))) for n, rule in enumerate(rules)]

    def run(handles):
        test = session.evaluate_bool
        return [[n for n, rule in made if test(rule, it)] for it in handles]

    return run


def polars(rules: list[tuple]) -> Callable:
    import polars as pl

    made = [_column(pl, rule).fill_null(False).alias(str(n)) for n, rule in enumerate(rules)]

    def run(frame):
        masks = frame.select(made).to_numpy()
        return [row.nonzero()[0].tolist() for row in masks]

    return run


def _column(pl, rule: tuple):
    match rule:
        case ("all", *parts):
            return pl.all_horizontal([_column(pl, part).fill_null(False) for part in parts])
        case ("any", *parts):
            return pl.any_horizontal([_column(pl, part).fill_null(False) for part in parts])
        case ("not", part):
            return ~_column(pl, part).fill_null(False)
        case ("eq", field, values):
            return pl.col(field).is_in(values)
        case ("min", field, value):
            return pl.col(field) >= value
        case ("over", field, value):
            return pl.col(field) > value
        case ("under", field, value):
            return pl.col(field) < value
        case ("prefix", field, prefix):
            return pl.col(field).str.starts_with(prefix)
        case ("tag", tag):
            return pl.col("allTags").list.contains(tag)
        case ("var", key, value):
            return pl.col("variables").list.contains(f"{key}={value}")
        case ("saw", prefix):
            seen = pl.col("paths").list.eval(pl.element().str.starts_with(prefix)).list.any()
            return pl.col("entryPage").str.starts_with(prefix) | seen.fill_null(False)
        case ("page", prefix, ms):
            element = pl.element()
            here = element.struct.field("websitePage").str.starts_with(prefix)
            long = element.struct.field("visitTime") > ms
            return pl.col("pageViews").list.eval(here & long).list.any()
    raise ValueError(rule)


def version(package: str) -> str | None:
    """The installed version of a package, None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
