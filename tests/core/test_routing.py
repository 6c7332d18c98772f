"""Which target a result goes to: nothing to configure for one, deny by default for several."""

from __future__ import annotations

import pytest

from gateway.core.model import Reason, Rejection
from gateway.core.routing import Routes


def refusal(routes: Routes, topic: str, named: str | None) -> str:
    answer = routes.route(topic, named)
    assert isinstance(answer, Rejection)
    assert answer.reason is Reason.UNROUTABLE
    (violation,) = answer.violations
    assert violation.member == "header gateway-target"
    return violation.rule


def test_a_single_target_needs_no_configuration() -> None:
    routes = Routes({"default"}, None, {})
    assert routes.route("any-topic", None) == "default"
    assert routes.route("any-topic", "default") == "default"


def test_a_single_target_is_reached_by_no_other_name() -> None:
    routes = Routes({"default"}, None, {})
    assert refusal(routes, "t", "production") == 'names "production", which is no target'


def test_a_single_target_can_be_closed_to_a_topic() -> None:
    routes = Routes({"default"}, None, {"closed": ()})
    assert routes.route("open", None) == "default"
    assert "not allowed" in refusal(routes, "closed", None)


def test_of_several_targets_one_has_to_be_named() -> None:
    routes = Routes({"eu", "us"}, None, {"t": ["eu", "us"]})
    assert routes.route("t", "eu") == "eu"
    assert routes.route("t", "us") == "us"
    assert refusal(routes, "t", None) == "is required: there are several targets and no default"


def test_with_several_targets_a_topic_reaches_only_what_it_is_allowed_to() -> None:
    routes = Routes({"eu", "us"}, None, {"t": ["eu"]})
    assert routes.route("t", "eu") == "eu"
    assert refusal(routes, "t", "us") == 'names "us", which topic t is not allowed to reach'
    assert refusal(routes, "other", "eu") == 'names "eu", which topic other is not allowed to reach'


def test_a_default_needs_to_be_allowed_too() -> None:
    routes = Routes({"eu", "us"}, "us", {"t": ["eu"], "u": ["us"]})
    assert routes.route("u", None) == "us"
    assert "not allowed" in refusal(routes, "t", None)


@pytest.mark.parametrize("named", ["x" * 100_000, "\x1b[31m", "eu\n", "\u202eeu", "", "EU"])
def test_a_name_from_an_event_is_short_and_printable_in_the_refusal(named: str) -> None:
    rule = refusal(Routes({"eu", "us"}, None, {"t": ["eu", "us"]}), "t", named)
    assert rule.isprintable()
    assert rule.isascii()
    assert len(rule) < 500


@pytest.mark.parametrize(
    ("targets", "default", "allowed"),
    [((), None, {}), (("eu",), "us", {}), (("eu",), None, {"t": ("us",)})],
)
def test_what_names_no_target_is_refused_at_once(
    targets: tuple[str, ...], default: str | None, allowed: dict[str, tuple[str, ...]]
) -> None:
    with pytest.raises(ValueError, match="must name targets"):
        Routes(targets, default, allowed)
