"""A consumer as a newcomer writes it: FastStream and SQLModel, event by event, with everything at its default.

It is what the tutorials of both lead to, and it is short, readable and typed. Its sessions are in the product's own
table, so that rows and indexes are the same. What it lacks (FACTS: a failed event is lost, a repeated one announces
again, an odd header kills a batch) is not held against it here, only its speed is.
"""

import asyncio
import os
from datetime import UTC, datetime
from uuid import UUID, uuid4

from faststream import FastStream
from faststream.kafka import KafkaBroker
from pydantic import BaseModel
from sqlalchemy import Column, DateTime
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession


class PasswordChanged(BaseModel):
    """What comes in."""

    id: str
    tenant: str
    subject: str
    time: datetime


class SessionEnded(BaseModel):
    """What goes out."""

    event_id: str
    subject: str
    session_ids: list[str]
    ended_at: datetime


class Session(SQLModel, table=True):
    """A row of the table."""

    __tablename__ = "sessions"

    tenant: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    session_id: str = Field(primary_key=True)
    client_id: str = Field(primary_key=True)
    ended_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    ended_by: UUID | None = None


broker = KafkaBroker(os.environ.get("REVOKER_KAFKA_BOOTSTRAP_SERVERS", "localhost:9092"))
app = FastStream(broker)
engine = create_async_engine(os.environ.get("REVOKER_DATABASE_URL", "postgresql+asyncpg://localhost/revoker"))


@broker.subscriber("newcomer-password-changed", group_id="newcomer")
async def on_password_changed(event: PasswordChanged) -> None:
    """Ends the subject's sessions and says so."""
    now = datetime.now(UTC)
    async with AsyncSession(engine) as session:
        found = await session.exec(
            select(Session).where(
                Session.tenant == event.tenant, Session.subject == event.subject, col(Session.ended_at).is_(None)
            )
        )
        sessions = found.all()
        session_ids = [row.session_id for row in sessions]
        for row in sessions:
            row.ended_at = now
            row.ended_by = uuid4()
            session.add(row)
        await session.commit()
    ended = SessionEnded(event_id=event.id, subject=event.subject, session_ids=session_ids, ended_at=now)
    await broker.publish(ended, "newcomer-session-ended", key=event.subject.encode())


if __name__ == "__main__":
    asyncio.run(app.run())
