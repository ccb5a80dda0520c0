"""The compiled decision: an optimisation, and nothing but one.

`RuleIndex` decides all rules of a website at once. It answers what `bot.rules.evaluate.RuleList`
answers by walking every rule's tree, and tests hold the two equal. Each rule is split into terms,
sets of tests that must all be met or not met; a term is one bit. For each field a table gives, for
the value seen, the mask of the terms that this value does not refute; the terms that all masks
leave are true. So the work per recording grows with its fields, hardly with the rules. Nothing is
generated or executed from text. Operators that describe themselves as a `TextTest` or a
`FigureTest` get tables; all others are asked by their own test. Without this package, use
`RuleList` in place of `RuleIndex`: everything still works, only slower.
"""

from bot.rules.index.rule_index import RuleIndex

__all__ = ["RuleIndex"]
