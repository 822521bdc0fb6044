"""What people can make a running agent do, from the command line, the status page or head office."""

import datetime as dt
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import structlog

from tillbridge_agent import ordertold, status
from tillbridge_agent.errors import AgentError, Refused
from tillbridge_agent.local import Verb
from tillbridge_agent.store import orders, setaside
from tillbridge_agent.troubles import Troubles
from tillbridge_protocol.mailbox import Body, DecideHold, LookAgain, MarkOrder, PlaceOrder

if TYPE_CHECKING:
    from tillbridge_agent.app import Agent

log = structlog.get_logger()


class Deeds:
    """The verbs of the local door and of the mailbox."""

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self.troubles = agent.orders.troubles if agent.orders is not None else Troubles()

    def verbs(self) -> dict[str, Verb]:
        """Every verb by name."""
        return {
            "status": self._status, "holds-list": self._holds, "holds-show": self._hold, "holds-decide": self._decide,
            "quarantine-list": self._quarantine, "quarantine-show": self._quarantined,
            "quarantine-retry": self._retry, "quarantine-drop": self._drop, "orders-list": self._orders,
            "orders-show": self._order, "orders-mark": self._mark_order,
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
        desk = self._agent.orders
        if desk is None:
            self.troubles.tell("orders_unconfigured", "Head office has sent an order, but this agent takes none.",
                               "Describe the till's import in [orders] of agent.toml, then start the agent again.",
                               for_s=60.0)
            return False
        if isinstance(body, MarkOrder):
            await desk.marked(body)
            return True
        return await desk.keep(body)

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

    async def _orders(self, arguments: Mapping[str, Any]) -> Any:
        now = dt.datetime.now(dt.UTC)
        found = await self._agent.store.run(orders.listed, every=bool(arguments.get("all")))
        return {"v": 1, "orders": [ordertold.order_document(row, now) for row in found]}

    async def _order(self, arguments: Mapping[str, Any]) -> Any:
        row = await self._known_order(arguments["id"])
        return {"v": 1, "order": ordertold.full_document(row, dt.datetime.now(dt.UTC))}

    async def _mark_order(self, arguments: Mapping[str, Any]) -> Any:
        """A person at the till has seen the order there; anything else is head office's to decide."""
        row = await self._known_order(arguments["id"])
        if self._agent.orders is None:
            raise Refused("This agent takes no orders.", hint="Mark the order at head office.")
        word = str(arguments["mark"])
        words = f"Marked {word} at the till by {arguments['by']}: {arguments['why']}".rstrip(": ")
        state = await self._agent.orders.mark(row, word, words) if word == "imported" else None
        if state is None:
            raise Refused(f"Order {row['id']} is {row['state']}; it cannot be marked {word} here.",
                          hint="See `tillbridge-agent orders show`; head office can decide more.")
        return {"v": 1, "id": row["id"], "state": state}

    async def _known_order(self, order_id: str) -> dict[str, Any]:
        row = await self._agent.store.run(orders.newest, order_id)
        if row is None:
            raise Refused(f"There is no order {order_id!r} here.", hint="See `tillbridge-agent orders list --all`.")
        return row

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
