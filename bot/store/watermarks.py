"""How far each source has read each website."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from bot.store.tables import watermarks
from bot.store.times import moment, ms

WEBSITES = "websites"
"""The source under which the names of the account's websites are kept, for no website."""


def website_names(conn: Connection) -> dict[str, str]:
    """The account's websites by id, as the daemon last saw them."""
    data = watermark(conn, WEBSITES, "")
    return msgspec.json.decode(data, type=dict[str, str]) if data else {}


MISSING = "websites missing"
"""The source under which the websites are kept that the last list lacked, for no website."""


def missing_websites(conn: Connection) -> dict[str, str]:
    """The websites by id that were known and that the account's last list lacked."""
    data = watermark(conn, MISSING, "")
    return msgspec.json.decode(data, type=dict[str, str]) if data else {}


def set_websites(
    conn: Connection, names: Mapping[str, str], missing: Mapping[str, str], at: datetime
) -> None:
    """Remember the account's websites by id as they are listed now, and those that it lacks."""
    for source, websites in ((WEBSITES, names), (MISSING, missing)):
        set_watermark(conn, source, "", msgspec.json.encode(websites).decode(), at)


CHANNELS = "slack"
"""The source under which the channels are kept that the bot may not read, for no website."""


def blind_channels(conn: Connection) -> list[str]:
    """The channels in which a post can't be looked up, as the daemon last tried."""
    data = watermark(conn, CHANNELS, "")
    return msgspec.json.decode(data, type=list[str]) if data else []


def set_blind_channels(conn: Connection, channels: Sequence[str], at: datetime) -> None:
    """Remember them."""
    set_watermark(conn, CHANNELS, "", msgspec.json.encode(channels).decode(), at)


ROUNDS = "rounds"
"""The source under which it is kept how often recordings are really seen, for no website."""


def watermark(conn: Connection, source: str, website: str) -> str | None:
    """What the source handed over last time for this website; None at first."""
    query = select(watermarks.c.data).where(
        watermarks.c.source == source, watermarks.c.website == website
    )
    return conn.execute(query).scalar_one_or_none()


def all_watermarks(conn: Connection) -> dict[tuple[str, str], tuple[str, datetime]]:
    """(source, website) -> what was handed over, and when."""
    rows = conn.execute(select(watermarks))
    return {(row.source, row.website): (row.data, moment(row.at)) for row in rows}


def forget_watermark(conn: Connection, source: str, website: str) -> None:
    """The next look at this website will be a first one."""
    conn.execute(
        delete(watermarks).where(watermarks.c.source == source, watermarks.c.website == website)
    )


def set_watermark(conn: Connection, source: str, website: str, data: str, at: datetime) -> None:
    """Remember how far the source has read; belongs into the transaction of what it read."""
    write = insert(watermarks).values(source=source, website=website, data=data, at=ms(at))
    conn.execute(
        write.on_conflict_do_update(
            index_elements=["source", "website"],
            set_={"data": write.excluded.data, "at": write.excluded.at},
        )
    )
