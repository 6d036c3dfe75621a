"""What a gateway can be told, and what it refuses to be told."""

from pathlib import Path
from typing import Any

import pytest

from revoker.gateway.gateway import Gateway
from revoker.gateway.settings import Settings, from_env

KAFKA = {"REVOKER_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}


def test_the_environment_says_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    settings = from_env(
        "chat",
        {
            "REVOKER_FEED_URL": "https://revoker.example",
            "REVOKER_FEED_TOKEN_FILE": str(tmp_path / "token"),
            "REVOKER_TOPIC_PREFIX": "eu.",
            "REVOKER_GATEWAY_MODE": "strict",
            "REVOKER_GATEWAY_MAX_STALENESS": "5",
            "REVOKER_GATEWAY_CREDENTIAL_LIFETIME": "900",
            "REVOKER_GATEWAY_CLOSE_GRACE": "0.5",
            "REVOKER_GATEWAY_MAX_BYTES": "1000000",
            "REVOKER_GATEWAY_RECEIPTS": "false",
            "REVOKER_GATEWAY_INSTANCE": "pod-1",
            "REVOKER_GATEWAY_IAT_IS_LOGIN": "true",
        },
    )

    assert settings == Settings(
        name="chat",
        feed_url="https://revoker.example",
        feed_token="secret",
        topic_prefix="eu.",
        mode="strict",
        max_staleness=5.0,
        credential_lifetime=900.0,
        close_grace=0.5,
        max_bytes=1_000_000,
        receipts=False,
        instance="pod-1",
        iat_is_login=True,
        kafka_options={"security_protocol": "PLAINTEXT"},
    )


def test_beside_the_service_kafka_is_the_way() -> None:
    both = from_env("chat", KAFKA | {"REVOKER_REDIS_URL": "redis://there"})

    assert (both.bootstrap_servers, both.redis_url) == ("kafka:9092", None)
    assert both.sends_receipts


def test_a_feed_can_be_chosen_and_receipts_still_go_through_kafka() -> None:
    chosen = from_env("chat", KAFKA | {"REVOKER_REDIS_URL": "redis://there", "REVOKER_GATEWAY_FEED": "redis"})

    assert (chosen.bootstrap_servers, chosen.redis_url) == ("kafka:9092", "redis://there")
    assert chosen.sends_receipts


def test_redis_alone_has_no_way_for_receipts() -> None:
    assert not from_env("chat", {"REVOKER_REDIS_URL": "redis://there"}).sends_receipts


def test_sasl_and_tls_are_named_as_for_the_service(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("secret\n")
    settings = from_env(
        "chat",
        KAFKA
        | {
            "REVOKER_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "REVOKER_KAFKA__USERNAME": "chat",
            "REVOKER_KAFKA__PASSWORD_FILE": str(tmp_path / "password"),
        },
    )

    options = settings.kafka()
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("chat", "secret")
    assert options["ssl_context"].check_hostname


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REVOKER_GATEWAY_MAX_STALENESS", "soon"),
        ("REVOKER_GATEWAY_RECEIPTS", "perhaps"),
        ("REVOKER_GATEWAY_FEED", "carrier-pigeon"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable):
        from_env("chat", KAFKA | {variable: value})


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "ü" * 300}, "name"),
        ({"instance": "\x00"}, "instance"),
        ({"bootstrap_servers": None}, "bootstrap_servers"),
        ({"redis_url": "redis://a", "feed_url": "http://b"}, "exclude"),
        ({"mode": "lenient"}, "mode"),
        ({"max_staleness": 0.1}, "max_staleness"),
        ({"max_staleness": float("nan")}, "max_staleness"),
        ({"credential_lifetime": 0}, "credential_lifetime"),
        ({"close_grace": 2}, "close_grace"),
        ({"max_bytes": 0}, "max_bytes"),
    ],
)
def test_what_cannot_work_is_refused_at_once(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Gateway(**{"name": "chat", "bootstrap_servers": "kafka:9092"} | given)


def test_a_gateway_reaches_for_nothing_before_it_is_started() -> None:
    gateway = Gateway("chat", bootstrap_servers="nowhere.invalid:9092")

    assert gateway.health().error == "not started"
    assert gateway.health().state == "replaying"
