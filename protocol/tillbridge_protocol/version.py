"""What this code speaks: the protocol version and the media types that carry it."""

PROTOCOL_VERSION = 1

#: Plain JSON bodies: enrollment, heartbeat, mailbox, every answer.
CONTENT_TYPE_JSON = f"application/vnd.tillbridge.v{PROTOCOL_VERSION}+json"
#: Frozen batches. The `+gzip` suffix (RFC 8460 §6.3) keeps HTTP layers from unpacking
#: bytes whose digest was not verified yet, as a Content-Encoding header would.
CONTENT_TYPE_BATCH = f"application/vnd.tillbridge.v{PROTOCOL_VERSION}+gzip"
