"""What people can make a running agent do, from the command line, the status page or head office."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from tillbridge_agent import status
from tillbridge_agent.errors import AgentError, Refused
from tillbridge_agent.local import Verb
from tillbridge_agent.store import setaside
from tillbridge_protocol.mailbox import Body, DecideHold, LookAgain, MarkOrder, PlaceOrder

if TYPE_CHECKING:
    from tillbridge_agent.app import Agent

log = structlog.get_logger()


class Deeds:
    """The verbs of the local door and of the mailbox."""

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent

    def verbs(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "status": self._status, "holds-list": self._holds, "holds-show": self._hold, "holds-decide": self._decide,
            "quarantine-list": self._quarantine, "quarantine-show": self._quarantined,
            "quarantine-retry": self._retry, "quarantine-drop": self._drop,
        }

    async def deal(self, body: Body) -> bool:
        """Deal with a message of head office; True when it is done with, whatever came of it."""
        if isinstance(body, PlaceOrder | MarkOrder):
            return await self._deal_order(body)
        try:
            if isinstance(body, DecideHold):
                await self._decide({"id": body.hold, "decision": body.decision, "why": body.reason, "by": body.by})
            elif isinstance(body, LookAgain) and body.feed in self._agent.watches:
                self._agent.watches[body.feed].look_again()
        except AgentError as error:
            # Decided here meanwhile, or superseded by a newer file: there is nothing left to do.
            log.warning("mail had no effect", message=error.message)
        return True

    async def _deal_order(self, body: PlaceOrder | MarkOrder) -> bool:
        """An order stays in the mailbox until it is kept; also when no import folder is configured here."""
        orders = self._agent.orders
        if orders is None:
            log.warning("an order came, but agent.toml has no [orders]")
            return False
        if isinstance(body, MarkOrder):
            await orders.marked(body)
            return True
        return await orders.keep(body)

    async def _status(self, arguments: Mapping[str, Any]) -> Any:
        return await self._agent.status()

    async def _holds(self, arguments: Mapping[str, Any]) -> Any:
        found = await self._agent.store.run(setaside.holds)
        return {"v": 1, "holds": [status.hold_document(one) for one in found]}

    async def _hold(self, arguments: Mapping[str, Any]) -> Any:
        return {"v": 1, "hold": status.hold_document(await self._open_hold(arguments["id"], any_state=True))}

    async def _decide(self, arguments: Mapping[str, Any]) -> Any:
        """Approve or reject; approving captures the kept copy at once."""
        hold = await self._open_hold(arguments["id"])
        by, why = arguments["by"], arguments["why"]
        now = status.now_text()
        if arguments["decision"] == "reject":
            await self._agent.store.run(setaside.decide, hold["id"], "rejected", by, why, now)
            await self._agent.on_capture_thread(self._agent.capture.tidy)
            return {"v": 1, "id": hold["id"], "state": "rejected", "changes": 0}
        feed = self._agent.feed(hold["feed"])
        done = await self._agent.on_capture_thread(self._agent.capture.approve, feed, hold, by, why)
        if done.verdict != "accept":
            raise Refused(f"{hold['file']} cannot be taken as it is: {hold['message']}", hint=hold["hint"])
        self._agent.lane.wake()
        return {"v": 1, "id": hold["id"], "state": "approved", "changes": done.changes}

    async def _open_hold(self, hold_id: str, *, any_state: bool = False) -> dict[str, Any]:
        hold = await self._agent.store.run(setaside.hold, hold_id)
        if hold is None:
            raise Refused(f"There is no hold {hold_id!r}.", hint="See `tillbridge-agent holds list`.")
        if hold["state"] != "open" and not any_state:
            raise Refused(f"Hold {hold_id} is {hold['state']} already.", hint="Nothing is left to decide.")
        return hold

    async def _quarantine(self, arguments: Mapping[str, Any]) -> Any:
        found = await self._agent.store.run(setaside.quarantine)
        return {"v": 1, "quarantine": [status.quarantine_document(one) for one in found]}

    async def _quarantined(self, arguments: Mapping[str, Any]) -> Any:
        return {"v": 1, "entry": status.quarantine_document(await self._entry(arguments["id"]))}

    async def _retry(self, arguments: Mapping[str, Any]) -> Any:
        """Forget the entry and look at the feed's files again, as after a change of its configuration."""
        entry = await self._entry(arguments["id"])
        await self._agent.store.run(setaside.close_quarantined, entry["id"], "retried")
        if entry["feed"] in self._agent.watches:
            self._agent.watches[entry["feed"]].look_again()
        return {"v": 1, "id": entry["id"], "state": "retried"}

    async def _drop(self, arguments: Mapping[str, Any]) -> Any:
        """Close the entry for good; the same content is not looked at again."""
        entry = await self._entry(arguments["id"])
        await self._agent.store.run(setaside.close_quarantined, entry["id"], "dropped")
        await self._agent.on_capture_thread(self._agent.capture.tidy)
        return {"v": 1, "id": entry["id"], "state": "dropped"}

    async def _entry(self, entry_id: str) -> dict[str, Any]:
        entry = await self._agent.store.run(setaside.quarantined, entry_id)
        if entry is None:
            raise Refused(f"There is no quarantine entry {entry_id!r}.",
                          hint="See `tillbridge-agent quarantine list`.")
        return entry
