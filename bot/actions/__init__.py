"""The registry of actions: one line for each kind of step, one for each key of `do`."""

from collections.abc import Mapping
from types import MappingProxyType

from bot.actions import (
    delete,
    enabled,
    recording,
    recording_rate,
    share,
    slack,
    star,
    tag,
    variables,
    watched,
    webhook,
)
from bot.actions.base import Action, Spec

_STEPS: tuple[type[Action], ...] = (
    tag.Tag,
    tag.Untag,
    star.Star,
    watched.Watched,
    variables.Variables,
    share.Share,
    share.Unshare,
    delete.Delete,
    recording.RecordingSwitch,
    recording_rate.RecordingRate,
    enabled.Enabled,
    slack.Slack,
    slack.Digest,
    slack.Resolved,
    slack.Notice,
    webhook.Webhook,
)

_SPECS: tuple[Spec, ...] = (
    tag.TAG,
    tag.UNTAG,
    star.STAR,
    watched.WATCHED,
    variables.VARIABLES,
    share.SHARE,
    delete.DELETE,
    recording.RECORDING,
    recording_rate.RECORDING_RATE,
    enabled.ENABLED,
    slack.SLACK,
    webhook.WEBHOOK,
)

ACTIONS: Mapping[str, type[Action]] = MappingProxyType({step.kind: step for step in _STEPS})
"""The model of each kind of step: how the store reads a step back."""

WRITTEN: Mapping[str, Spec] = MappingProxyType({spec.key: spec for spec in _SPECS})
"""Each key of `do`, in the order of the docs."""
