-- Every statement about web orders and the till's answers to them by name; the schema is in migrations.py.

-- order_put --
INSERT INTO web_order (id, revision, state, payload, sha256, placed_at, received_at, state_at, confirmed, sequence, file,
                       file_sha256, code, message)
VALUES (:id, :revision, :state, :payload, :sha256, :placed_at, :received_at, :state_at, 0, :sequence, :file,
        :file_sha256, :code, :message)
-- order_get --
SELECT * FROM web_order WHERE id = ? AND revision = ?
-- order_latest --
SELECT * FROM web_order WHERE id = ? ORDER BY revision DESC LIMIT 1
-- order_spelled --
SELECT * FROM web_order WHERE id = ? COLLATE NOCASE ORDER BY revision DESC LIMIT 1
-- order_latest_all --
SELECT * FROM web_order AS one
WHERE revision = (SELECT max(revision) FROM web_order WHERE id = one.id) ORDER BY id
-- order_of_state --
SELECT * FROM web_order WHERE state = ? ORDER BY placed_at, id, revision
-- order_to_place --
SELECT * FROM web_order WHERE state IN ('received', 'ready') ORDER BY placed_at, id, revision
-- order_replaced --
SELECT * FROM web_order WHERE id = ? AND revision < ? AND state IN ('received', 'ready')
-- order_move --
UPDATE web_order SET state = :state, state_at = :state_at, code = :code, message = :message, sequence = :sequence,
  file = :file, file_sha256 = :file_sha256 WHERE id = :id AND revision = :revision
-- order_reserve --
UPDATE web_order SET nonce = ?, sequence = ?, file = ? WHERE id = ? AND revision = ? AND state = 'received' AND confirmed = 1
-- order_confirm --
UPDATE web_order SET confirmed = 1 WHERE state = 'received' AND confirmed = 0
-- order_forget --
UPDATE web_order SET payload = NULL WHERE payload IS NOT NULL AND state_at < ?
  AND state IN ('accepted', 'rejected', 'sold', 'counted', 'expired', 'cancelled')
-- order_counts --
SELECT state, count(*) AS n FROM web_order AS one
WHERE revision = (SELECT max(revision) FROM web_order WHERE id = one.id) GROUP BY state
-- order_waiting --
SELECT * FROM web_order AS one WHERE state NOT IN ('accepted', 'sold', 'counted', 'cancelled')
  AND revision = (SELECT max(revision) FROM web_order WHERE id = one.id) ORDER BY id
-- order_state_queued --
SELECT 1 FROM change WHERE kind = 'order_state' LIMIT 1
-- order_state_frozen --
SELECT 1 FROM batch WHERE acked = 0 AND orders > 0 LIMIT 1
-- change_next_order_states --
SELECT id, feed, event, body FROM change WHERE kind = 'order_state' ORDER BY id LIMIT ?

-- answer_known --
SELECT 1 FROM order_answer WHERE sha256 = ? AND name = ?
-- answer_versions --
SELECT sha256, bytes FROM order_answer WHERE name = ? ORDER BY bytes DESC
-- answer_put --
INSERT INTO order_answer (sha256, name, seen_at, bytes, text, problem) VALUES (?, ?, ?, ?, ?, ?)
-- answer_problems --
SELECT name, seen_at, problem FROM order_answer WHERE problem IS NOT NULL AND seen_at >= ? ORDER BY seen_at DESC LIMIT ?
-- answer_forget --
UPDATE order_answer SET text = '' WHERE text <> '' AND seen_at < ?
