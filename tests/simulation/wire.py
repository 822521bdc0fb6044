"""The simulated wire: drops, duplicates, delays and reorders requests, and loses answers; nothing is decided here."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tillbridge_agent.errors import TryLater
from tillbridge_protocol.changes import FrozenBatch
from tillbridge_protocol.errors import ProtocolError
from tillbridge_protocol.heartbeat import Heartbeat
from tillbridge_protocol.mailbox import Poll
from tillbridge_protocol.positions import Boot, ErrorAnswer, Position
from tillbridge_server.agents import inbox
from tillbridge_server.agents.inbox import Lane

if TYPE_CHECKING:
    from tests.simulation.world import World


class Crash(Exception):
    """The process that reached a crash point is gone."""


@dataclass(frozen=True)
class FaultPlan:
    """How likely each fault is, per occasion."""

    drop: float = 0.0
    lose_answer: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    crash: float = 0.0
    restore_agent: float = 0.0
    restore_server: float = 0.0
    lose_queue: float = 0.0

    @property
    def restores(self) -> bool:
        """Whether anything may be put back or lost."""
        return bool(self.restore_agent or self.restore_server or self.lose_queue)


@dataclass
class Wire:
    """Stands where the transport stands; late packets wait in `delayed` and arrive whenever chance says."""

    world: "World"
    delayed: list[tuple[Any, Position, Boot, Any]] = field(default_factory=list)

    async def send_batch(self, batch: FrozenBatch, position: Position) -> Any:
        """A batch on its way to the server and its answer on the way back."""
        return self._carry(batch, position)

    async def heartbeat(self, heartbeat: Heartbeat, position: Position) -> Any:
        """A heartbeat on its way."""
        return self._carry(heartbeat, position)

    async def poll(self, poll: Poll, position: Position) -> Any:
        """A poll on its way; the server answers at once."""
        return self._carry(poll, position)

    def renew_boot(self) -> None:
        """As the transport does."""
        self.world.boot_id, self.world.requests = f"b{self.world.rng.getrandbits(40):x}", 0

    def deliver_late(self) -> None:
        """One packet that everybody had given up on arrives after all; nobody hears its answer."""
        if self.delayed:
            late = self.delayed.pop(self.world.rng.randrange(len(self.delayed)))
            self.world.tell(f"late packet arrives: {_name(late[0])}")
            self._deliver(*late)

    def _carry(self, content: Any, position: Position) -> Any:
        world, plan = self.world, self.world.plan
        world.requests += 1
        sent = (content, position, Boot(world.boot_id, world.requests), world.now().replace(microsecond=0))
        chance = (lambda odds: False) if world.calm else (lambda odds: world.rng.random() < odds)
        if chance(plan.drop):
            raise TryLater("dropped", hint="")
        if chance(plan.delay):
            self.delayed.append(sent)
            raise TryLater("delayed", hint="")
        answer = self._deliver(*sent)
        if chance(plan.duplicate):
            self.delayed.append(sent)
        if answer is None or chance(plan.lose_answer):
            raise TryLater("no answer", hint="")
        return answer

    def _deliver(self, content: Any, position: Position, boot: Boot, created: Any) -> Any:
        """What the server does with it; None when it crashed on the way."""
        lane, world = Lane(position, boot, created), self.world
        try:
            with world.engine.begin() as conn:
                if isinstance(content, FrozenBatch):
                    answer = inbox.receive_batch(conn, AGENT, content.body, lane, backs_up=True, now=world.now())
                    world._reach("batch.applying")
                    return answer
                if isinstance(content, Poll):
                    return inbox.receive_poll(conn, AGENT, content, lane, now=world.now())
                return inbox.receive_heartbeat(conn, AGENT, content, lane, now=world.now())
        except Crash:
            return None
        except ProtocolError as error:
            return ErrorAnswer(error.code, error.message, error.hint)


AGENT = "agent-1"


def _name(content: Any) -> str:
    if isinstance(content, FrozenBatch):
        return f"batch {content.epoch[:6]}/{content.seq}"
    return "poll" if isinstance(content, Poll) else "heartbeat"
