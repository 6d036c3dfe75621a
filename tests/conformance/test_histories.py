"""Random histories, through the real code into a real PostgreSQL, in any order and any batches: always the same end.

What is over must be what the oracle (`tests.model`) derives from the bare set of facts; and a gateway that has heard
the notifications, and nothing else, must know all of it and nothing more.

Many worlds at once, each with tenants of its own, share every transaction: a world costs next to nothing, and a failure
shows just the one that failed. The seed is pytest-randomly's.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby, zip_longest
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from revoker.core.notices import Notice
from revoker.core.policy import DEFAULT_RULES, Ends, Policy, decide
from revoker.core.registration import merge, seen
from revoker.core.revocation import Cover, Credential, Revocation, Selector
from revoker.storage import batches, revocations, sessions
from schemas.session_ended import SessionEnded
from tests import factories
from tests.model import Fact, Session, Token, Told, World, world
from tests.stored import MINUTE, execute, rows

ROUNDS = 12
WORLDS = 60
ORDERS = 2

BASE = datetime(2026, 3, 1, 12, tzinfo=UTC)
LAST = BASE + timedelta(microseconds=5)
"""When Kafka took everything: later times are clamped to it."""

# Few values, so that they collide. Subjects use the same ids, which must not be mixed up; where an event names no
# subject its session or token must be somebody's alone, since ids are never reused.
CLIENTS = (None, None, "web", "web", "app")
KINDS = (*sorted(DEFAULT_RULES), *("logged-out", "token-revoked", "password-changed") * 2)
NAMING = {"logged-out", "session-revoked", "refresh-token-reused", "token-revoked"}
# Whatever is heard of one token agrees: which session, and which client's part of it.
TOKENS: dict[str, dict[str, str]] = {
    "t-1": {},
    "t-2": {"client_id": "web"},
    "t-3": {"session_id": "s-1"},
    "t-4": {"session_id": "s-1", "client_id": "web"},
}


@dataclass(frozen=True)
class Names:
    """Whom and what a history speaks of: sometimes of one session of one person only."""

    tenants: Sequence[str]
    subjects: Sequence[str]
    sessions: Sequence[str]


MANY = Names(("", "", "", "acme"), ("alice", "alice", "alice", "bob"), ("s-1", "s-1", "s-2"))
ONE = Names(("",), ("alice",), ("s-1",))


def moment(chance: random.Random, last: int) -> datetime:
    return BASE + timedelta(microseconds=chance.randint(0, last))


def told(chance: random.Random, names: Names) -> Told:
    kind, subject = chance.choice(KINDS), chance.choice(names.subjects)
    nameless = kind in NAMING and chance.random() < 0.4
    own_session, own_token = f"s-of-{subject}", f"t-of-{subject}"

    def session_id() -> str:
        return own_session if nameless else chance.choice((*names.sessions, own_session))

    data: dict[str, Any] = {}
    match kind:
        case "logged-out" | "refresh-token-reused":
            data = {"session_id": session_id()} | known(client_id=chance.choice(CLIENTS))
        case "session-revoked":
            data = {"session_ids": [session_id() for _ in range(chance.randint(1, 2))]}
        case "token-revoked":
            data = {"token_id": own_token if nameless else chance.choice((*TOKENS, own_token))}
        case "password-changed" | "email-changed" | "logged-out-everywhere":
            data = {"keep": [session_id() for _ in range(chance.choice((0, 0, 1, 2)))]}
        case _:
            # What a report of a concern keeps depends on what the registry knew then: by example, elsewhere.
            pass
    # An input that only reports is bound to a source of its own. Most events are of earlier moments than the sessions:
    # where everything ends, nothing is learnt.
    report_only = chance.random() < 0.1
    time = moment(chance, chance.choice((2, 2, 7))) if chance.random() < 0.9 else None
    event = factories.identity_event(
        kind,
        None if nameless else subject,
        tenant=chance.choice(names.tenants),
        id=chance.choice(("e-1", "e-2", "e-3")),
        source="trial" if report_only else "login",
        data=data,
        **known(time=time),
    )
    return Told(event, report_only)


def activity(chance: random.Random, names: Names) -> Fact:
    subject, tenant = chance.choice(names.subjects), chance.choice(names.tenants)
    if chance.random() < 0.6:
        return factories.established(
            chance.choice((*names.sessions, f"s-of-{subject}")),
            subject,
            tenant,
            established_at=moment(chance, 7),
            **known(client_id=chance.choice(CLIENTS)),
        )
    token_id = chance.choice((*TOKENS, f"t-of-{subject}"))
    parts = TOKENS.get(token_id, {"session_id": f"s-of-{subject}"})
    return factories.issued(token_id, subject, tenant, time=moment(chance, 7), **parts)


def known(**attributes: Any) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def history(chance: random.Random) -> list[Fact]:
    names = chance.choice((ONE, MANY))
    facts: list[Fact] = [told(chance, names) for _ in range(chance.randint(1, 6))]
    return facts + [activity(chance, names) for _ in range(chance.randint(1, 9))]


def policy(chance: random.Random) -> Policy:
    changed: dict[str, dict[str, Any]] = {
        "password-changed": {
            "margin": chance.choice((timedelta(0), timedelta(microseconds=2))),
            "keep_clients": chance.choice(((), (), ("app",))),
        },
        "email-changed": {"ends": Ends.NOTHING},
        "refresh-token-reused": {"ends": Ends.SUBJECT},
    }
    rules = {name: replace(rule, **changed.get(name, {})) for name, rule in DEFAULT_RULES.items()}
    return replace(factories.POLICY, rules=rules)


# One way through a history.


@dataclass
class Run:
    """A history in one order and one division into batches, under tenants that end in `suffix`."""

    suffix: str
    facts: Sequence[Fact]
    chunks: Sequence[Sequence[Fact]]
    notices: list[Notice] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(f"{number}: {fact}" for number, chunk in enumerate(self.chunks) for fact in chunk)


def run(chance: random.Random, facts: Sequence[Fact], suffix: str) -> Run:
    order = [*facts, *chance.sample(facts, chance.randint(0, min(3, len(facts))))]
    chance.shuffle(order)
    return Run(suffix, facts, list(chunks(chance, order)))


def chunks(chance: random.Random, order: Sequence[Fact]) -> Iterator[Sequence[Fact]]:
    """Neighbours of one lane, cut anywhere."""
    for _, lane in groupby(order, key=lambda fact: isinstance(fact, Told)):
        members = list(lane)
        while members:
            size = chance.randint(1, 4)
            yield members[:size]
            members = members[size:]


async def play(engine: AsyncEngine, reader: AsyncEngine, runs: Sequence[Run], rules: Policy) -> None:
    """The first chunks of all runs, then the second ones, and so on; each run hears what it announced."""
    by_suffix = {each.suffix: each for each in runs}
    for step in zip_longest(*(each.chunks for each in runs), fillvalue=()):
        facts = [elsewhere(fact, each.suffix) for each, chunk in zip(runs, step, strict=True) for fact in chunk]
        told_ = [decide(f.event, rules, LAST, report_only=f.report_only) for f in facts if isinstance(f, Told)]
        heard = merge([seen(fact, LAST, str) for fact in facts if not isinstance(fact, Told)])
        ids = [(await revocations.apply(engine, told_, dict)).batch_id] if told_ else []
        ids.append((await sessions.register(engine, heard, MINUTE, dict)).batch_id)
        for notice in await batches.derive(reader, [id_ for id_ in ids if id_ is not None]):
            tenant = SessionEnded.model_validate_json(notice.body).tenant
            by_suffix[tenant[tenant.index("#") :]].notices.append(notice)


def elsewhere(fact: Fact, suffix: str) -> Fact:
    if isinstance(fact, Told):
        return replace(fact, event=fact.event.model_copy(update={"tenant": fact.event.tenant + suffix}))
    return fact.model_copy(update={"tenant": fact.tenant + suffix})


async def ends(reader: AsyncEngine, table: str, key: str) -> Mapping[str, Mapping[Any, bool]]:
    """Of each world the keys of its rows, and whether they are over."""
    found: dict[str, dict[Any, bool]] = defaultdict(dict)
    for over, tenant, *rest in await rows(reader, f"select ended_at is not null, tenant, subject, {key} from {table}"):
        place = tenant.index("#")
        found[tenant[place:]][tenant[:place], *rest] = over
    return found


async def test_any_order_and_any_batches_end_what_the_facts_alone_end(engine: AsyncEngine, reader: AsyncEngine) -> None:
    chance = random.Random(random.getrandbits(32))
    for _ in range(ROUNDS):
        rules, histories = policy(chance), [history(chance) for _ in range(WORLDS)]
        for _ in range(ORDERS):
            runs = [run(chance, facts, f"#{number}") for number, facts in enumerate(histories)]
            await play(engine, reader, runs, rules)

            over = await ends(reader, "sessions", "session_id, client_id")
            tokens = await ends(reader, "tokens", "token_id")
            for each in runs:
                assert_right(world(each.facts, rules, LAST), each, over[each.suffix], tokens[each.suffix])
            await execute(engine, "truncate sessions, tokens, revocations, batches")


def assert_right(expected: World, done: Run, over: Mapping[Session, bool], tokens: Mapping[Token, bool]) -> None:
    assert over == {key: key in expected.ended_sessions for key in expected.established}, done
    settled = expected.tokens.keys() - expected.unsettled_tokens
    assert tokens.keys() == expected.tokens.keys(), done
    assert {key: tokens[key] for key in settled} == {key: key in expected.ended_tokens for key in settled}, done

    gateway = Gateway.of(done)
    assert {key: gateway.refuses(key, at) for key, at in expected.established.items()} == over, done
    for ghost, at in ghosts(expected):
        assert gateway.refuses(ghost, at) is any(act.ends_session(ghost, at) for act in expected.acts), (ghost, done)
    for key, heard in expected.tokens.items():
        if heard.session_id is None:
            assert gateway.refuses_token(key, heard.client_id, heard.issued_at) is tokens[key], (key, done)
        # Whoever sees nothing but its id.
        named = any(act.token_id is not None and act.ends_token(key, None, None) for act in expected.acts)
        assert gateway.refuses_token(key, None, None) or not named, (key, done)


def ghosts(expected: World) -> Iterator[tuple[Session, datetime]]:
    """Sessions of which nobody told us, and clients that joined one: what the registry need not hear again, they must.

    All parts of a sign-in begin with it; where a history says otherwise there is nothing to expect.
    """
    for tenant, subject in {key[:2] for key in expected.established}:
        for step in range(8):
            for client_id in ("", "web", "app"):
                yield (tenant, subject, "s-ghost", client_id), BASE + timedelta(microseconds=step)
    for tenant, subject, session_id, _ in expected.established:
        times = {at for key, at in expected.established.items() if key[:3] == (tenant, subject, session_id)}
        if len(times) == 1:
            yield (tenant, subject, session_id, "ghost"), min(times)


@dataclass
class Gateway:
    """All that it has is what was announced."""

    predicates: list[Revocation] = field(default_factory=list)
    sessions: set[Session] = field(default_factory=set)
    tokens: set[Token] = field(default_factory=set)

    @classmethod
    def of(cls, done: Run) -> "Gateway":
        gateway = cls()
        for notice in done.notices:
            gateway.hear(SessionEnded.model_validate_json(notice.body), done.suffix)
        return gateway

    def hear(self, event: SessionEnded, suffix: str) -> None:
        data, tenant = event.data, event.tenant.removesuffix(suffix)
        ids = data.selector.session_id
        selector = Selector(
            tenant=tenant,
            subject=data.selector.subject,
            session_ids=(ids,) if isinstance(ids, str) else ids or (),
            token_id=data.selector.token_id,
            client_id=data.selector.client_id,
        )
        self.predicates.append(
            factories.revocation(selector, not_before=data.not_before, keep=data.keep, keep_clients=data.keep_clients)
        )
        for entry in data.sessions:
            self.sessions.add((tenant, entry.subject or event.subject or "", entry.session_id, entry.client_id))
        self.tokens |= {(tenant, event.subject or "", entry.token_id) for entry in data.tokens}

    def refuses(self, key: Session, established_at: datetime) -> bool:
        tenant, subject, session_id, client_id = key
        return key in self.sessions or self._covers(
            Credential(
                tenant=tenant,
                subject=subject,
                session_id=session_id,
                client_id=client_id,
                established_at=established_at,
            )
        )

    def refuses_token(self, key: Token, client_id: str | None, issued_at: datetime | None) -> bool:
        tenant, subject, token_id = key
        return key in self.tokens or self._covers(
            Credential(tenant=tenant, subject=subject, token_id=token_id, client_id=client_id, established_at=issued_at)
        )

    def _covers(self, credential: Credential) -> bool:
        return any(revocation.covers(credential) is Cover.YES for revocation in self.predicates)
