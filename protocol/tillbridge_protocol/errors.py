"""Every code an answer can carry, its HTTP status, and what the operator should do next."""

from typing import NamedTuple

import msgspec

#: What msgspec raises for bytes it cannot read: besides its own errors, bad UTF-8 and nesting without end.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Code(NamedTuple):
    """HTTP status and operator's hint of one error code."""

    status: int
    hint: str


#: In order of precedence: the first check that fails names the answer. `not_found`, `busy` and `unavailable` may
#: come at any point; the last four are never an answer, they name dead letters.
CODES: dict[str, Code] = {
    "too_large": Code(413, "The agent sent more than one request may hold. Update the agent."),
    "authority_wrong": Code(
        401, "The server does not know itself by this name. Add it to public_names in server.toml.",
    ),
    "signature_missing": Code(401, "Only enrolled agents may call here. Check the address, or enroll the agent again."),
    "key_unknown": Code(401, "The server has never seen this agent's key. Enroll the agent again with a new code."),
    "key_revoked": Code(401, "This agent's key was revoked at head office. Enroll again if that was a mistake."),
    "frozen": Code(
        403, "Two machines use this agent's identity. Decide at head office which one is real, then enroll it.",
    ),
    "clock": Code(401, "The agent's clock differs from the server's; the agent corrects itself from this answer."),
    "signature_invalid": Code(
        401, "The signature does not fit the request. Something between agent and server changes it.",
    ),
    "digest_mismatch": Code(401, "The body does not fit its digest. Something between agent and server changes it."),
    "replayed": Code(401, "This request was seen before. The agent sends it again with a fresh signature."),
    "version": Code(415, "Agent and server speak different versions. Update the server first, then the agent."),
    "malformed": Code(400, "The request cannot be read. Update the agent; if it stays, send us a support bundle."),
    "wrong_location": Code(403, "This agent may only speak for its own location. Enroll it for the other one."),
    "code_wrong": Code(403, "The code is not right. Copy it again, or make a new one with `tillbridge-server invite`."),
    "code_used": Code(403, "The code was used by another machine. Make a new one with `tillbridge-server invite`."),
    "code_expired": Code(403, "The code is older than one hour. Make a new one with `tillbridge-server invite`."),
    "resync": Code(409, "Server and agent remember different things; the agent starts a new epoch with a full state."),
    "not_found": Code(404, "There is nothing at this address. Check the server address in agent.toml."),
    "busy": Code(429, "The server asks to slow down; the agent waits and tries again."),
    "unavailable": Code(503, "The server cannot answer now; the agent waits and tries again."),
    "change_unknown": Code(422, "The agent sent a kind of change this server does not know. Update the server."),
    "change_malformed": Code(422, "A change cannot be read. Look at the row it came from in the dead letter."),
    "change_refused": Code(422, "The server could not believe this change. Look at the reason in the dead letter."),
    "conflict": Code(
        422, "The same sale line arrived twice with different content. Compare both and void the wrong one.",
    ),
}


class ProtocolError(Exception):
    """A request or answer breaks the contract; `code` is one of CODES."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """HTTP status of the answer that carries this error."""
        return CODES[self.code].status

    @property
    def hint(self) -> str:
        """What the operator should do next."""
        return CODES[self.code].hint
