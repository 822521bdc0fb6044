"""Every bound of the wire, unit last; what happens at each bound is said beside it."""

#: Larger requests are refused with `too_large` before they are read further.
BODY_BYTES_MAX = 8 * 1024 * 1024
#: A batch that unpacks to more than this is refused (`too_large`), never unpacked further.
BATCH_UNPACKED_BYTES_MAX = 64 * 1024 * 1024
#: A batch is frozen when it reaches either bound; the rest waits for the next batch.
BATCH_CHANGES_MAX = 5_000
BATCH_BYTES_MAX = 2 * 1024 * 1024
#: Raw row text kept with each change; longer text is cut at this many bytes of UTF-8.
ROW_TEXT_BYTES_MAX = 1_024
#: A signature is good this long after `created`; outside it the answer is `clock`.
SIGNATURE_LIFE_S = 120
CLOCK_WINDOW_S = 300
#: Long poll: the server answers empty after this long.
POLL_WAIT_S_MAX = 25
#: One-time codes: life, and wrong codes from one address before it must wait (`busy`).
CODE_LIFE_S = 3_600
CODE_TRIES_MAX = 5
#: Messages handed out in one mailbox answer; the rest waits for the next poll.
MAILBOX_MESSAGES_MAX = 100
#: Ids, keys and codes; longer ones are refused with `malformed`.
KEY_CHARS_MAX = 200
#: A decimal on the wire; records that need more are refused with `change_malformed`.
DECIMAL_CHARS_MAX = 30
#: Line, revision and sequence numbers; records with larger ones are refused with `change_malformed`.
COUNT_MAX = 2**53 - 1
#: Name of the file a change was read from; longer names are cut by the agent, refused by the server.
FILE_NAME_BYTES_MAX = 500
#: The nonce of a request; longer ones are `signature_invalid`, because every one is remembered for a while.
NONCE_CHARS_MAX = 64
