-- Every hot-path statement of the agent by name; the schema is in migrations.py.

-- meta_get --
SELECT value FROM meta WHERE name = ?
-- meta_drop --
DELETE FROM meta WHERE name = ?
-- meta_put --
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value
-- count --
INSERT INTO counter (name, n) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET n = n + excluded.n
-- counters --
SELECT name, n FROM counter ORDER BY name

-- feed_get --
SELECT * FROM feed WHERE name = ?
-- feed_all --
SELECT * FROM feed ORDER BY name
-- feed_accept --
INSERT INTO feed (name, fingerprint, config, file, sha256, encoding, columns, rows, counts, bytes, mtime_ns, accepted_at,
                  as_of_from, as_of_to, as_of_kind, full)
VALUES (:name, :fingerprint, :config, :file, :sha256, :encoding, :columns, :rows, :counts, :bytes, :mtime_ns, :accepted_at,
        :as_of_from, :as_of_to, :as_of_kind, :full)
ON CONFLICT (name) DO UPDATE SET
  fingerprint = excluded.fingerprint, config = excluded.config, file = excluded.file, sha256 = excluded.sha256,
  encoding = excluded.encoding, columns = excluded.columns, rows = excluded.rows, counts = excluded.counts, bytes = excluded.bytes,
  mtime_ns = excluded.mtime_ns, accepted_at = excluded.accepted_at, as_of_from = excluded.as_of_from,
  as_of_to = excluded.as_of_to, as_of_kind = excluded.as_of_kind,
  full = CASE WHEN excluded.full = 1 THEN 1 ELSE feed.full END
-- feed_full_all --
UPDATE feed SET full = 1
-- feed_full_again --
UPDATE feed SET full = 1 WHERE name = ?
-- feed_full_begin --
UPDATE feed SET full = 2 WHERE name = ?
-- feed_full_done --
UPDATE feed SET full = 0 WHERE name = ?
-- feed_full_due --
SELECT name FROM feed WHERE full > 0 ORDER BY rows, name

-- snapshot_rows --
SELECT row, n FROM snapshot WHERE feed = ? AND key = ?
-- snapshot_add --
INSERT INTO snapshot (feed, key, row, n) VALUES (?, ?, ?, ?)
ON CONFLICT (feed, key, row) DO UPDATE SET n = n + excluded.n
-- snapshot_trim --
DELETE FROM snapshot WHERE feed = ? AND key = ? AND row = ? AND n <= 0
-- snapshot_clear --
DELETE FROM snapshot WHERE feed = ?
-- snapshot_conflicts --
SELECT key FROM snapshot WHERE feed = ? GROUP BY key HAVING count(*) > 1
-- staged_clear --
DELETE FROM snapshot_staged WHERE feed = ?
-- staged_add --
INSERT INTO snapshot_staged (feed, key, row, n) VALUES (?, ?, ?, 1)
ON CONFLICT (feed, key, row) DO UPDATE SET n = n + 1
-- staged_swap --
INSERT INTO snapshot (feed, key, row, n) SELECT feed, key, row, n FROM snapshot_staged WHERE feed = ?

-- kept_get --
SELECT change FROM kept WHERE feed = ? AND kind = ? AND key = ?
-- kept_put --
INSERT INTO kept (feed, kind, key, change) VALUES (?, ?, ?, ?)
ON CONFLICT (feed, kind, key) DO UPDATE SET change = excluded.change
-- kept_drop --
DELETE FROM kept WHERE feed = ? AND kind = ? AND key = ?
-- kept_counts --
SELECT 1 FROM kept WHERE feed = ? AND kind = 'stock_level' LIMIT 1
-- kept_all --
SELECT change FROM kept WHERE feed = ? ORDER BY kind, key

-- change_put --
INSERT INTO change (feed, kind, key, event, body, captured_at) VALUES (?, ?, ?, 0, ?, ?)
ON CONFLICT (feed, kind, key) WHERE event = 0 DO UPDATE SET body = excluded.body, captured_at = excluded.captured_at
-- event_put --
INSERT INTO change (feed, kind, key, event, body, captured_at) VALUES (?, ?, ?, 1, ?, ?)
-- change_drop_state --
DELETE FROM change WHERE event = 0 AND feed = ?
-- change_next_states --
SELECT id, feed, event, body FROM change
WHERE event = 0 AND feed NOT IN (SELECT name FROM feed WHERE full > 0) ORDER BY id LIMIT ?
-- change_next_events --
SELECT id, feed, event, body FROM change WHERE event = 1 AND kind <> 'order_state' ORDER BY id LIMIT ?
-- event_all --
SELECT feed, kind, key, body, captured_at FROM change WHERE event = 1 ORDER BY id
-- change_delete --
DELETE FROM change WHERE id = ?
-- change_left --
SELECT 1 FROM change WHERE event = 0 AND feed = ? LIMIT 1
-- change_stats --
SELECT event, count(*) AS n, coalesce(sum(length(body)), 0) AS bytes, min(captured_at) AS oldest_at
FROM change GROUP BY event

-- batch_in_flight --
SELECT * FROM batch WHERE acked = 0 ORDER BY seq LIMIT 1
-- batch_put --
INSERT INTO batch (epoch, seq, head, body, changes, events, frozen_at, full_feed, full_last, orders, acked)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)
-- batch_ack --
UPDATE batch SET acked = 1 WHERE epoch = ? AND seq = ?
-- batch_prune --
DELETE FROM batch WHERE acked = 1 AND (events = 0 OR (epoch = ? AND seq <= ?))
-- batch_all --
SELECT * FROM batch ORDER BY rowid
-- batch_clear --
DELETE FROM batch
-- batch_stats --
SELECT count(*) AS n, coalesce(sum(changes), 0) AS changes, coalesce(sum(events), 0) AS events,
       coalesce(sum(length(body)), 0) AS bytes, min(frozen_at) AS oldest_at FROM batch WHERE acked = 0

-- journal_get --
SELECT * FROM journal WHERE feed = ? AND file = ?
-- journal_all --
SELECT * FROM journal ORDER BY looked_at, file
-- journal_put --
INSERT INTO journal (feed, file, position, prefix, line, columns, encoding, looked_at)
VALUES (:feed, :file, :position, :prefix, :line, :columns, :encoding, :looked_at)
ON CONFLICT (feed, file) DO UPDATE SET position = excluded.position, prefix = excluded.prefix, line = excluded.line,
  columns = excluded.columns, encoding = excluded.encoding, looked_at = excluded.looked_at

-- hold_put --
INSERT INTO hold (id, feed, file, sha256, mtime_ns, since, code, message, hint, affected, sample, state)
VALUES (:id, :feed, :file, :sha256, :mtime_ns, :since, :code, :message, :hint, :affected, :sample, 'open')
ON CONFLICT (id) DO UPDATE SET code = excluded.code, message = excluded.message, hint = excluded.hint,
  affected = excluded.affected, sample = excluded.sample
-- hold_get --
SELECT * FROM hold WHERE id = ?
-- hold_open_of_content --
SELECT id FROM hold WHERE feed = ? AND sha256 = ? AND state = 'open'
-- hold_of_content --
SELECT state FROM hold WHERE feed = ? AND sha256 = ? AND state IN ('open', 'rejected') LIMIT 1
-- hold_list --
SELECT * FROM hold WHERE state = 'open' ORDER BY id
-- hold_decide --
UPDATE hold SET state = ?, decided_at = ?, decided_by = ?, why = ? WHERE id = ? AND state = 'open'
-- hold_supersede --
UPDATE hold SET state = 'gone', decided_at = ? WHERE feed = ? AND state = 'open' AND (mtime_ns <= ? OR file = ?)

-- hold_bound --
UPDATE hold SET state = 'gone', decided_at = ? WHERE feed = ? AND state = 'open' AND id NOT IN (
  SELECT id FROM hold WHERE feed = ? AND state = 'open' ORDER BY since DESC, id LIMIT ?)

-- quarantine_put --
INSERT INTO quarantine (id, feed, file, sha256, since, code, message, hint, line, column, text, whole_file, n, state)
VALUES (:id, :feed, :file, :sha256, :since, :code, :message, :hint, :line, :column, :text, :whole_file, 1, 'open')
ON CONFLICT (id) DO UPDATE SET file = excluded.file, sha256 = excluded.sha256, message = excluded.message,
  line = excluded.line, state = 'open',
  n = CASE WHEN quarantine.state = 'open' AND whole_file = 0 THEN n + 1 ELSE 1 END,
  since = CASE WHEN quarantine.state = 'open' THEN quarantine.since ELSE excluded.since END
-- quarantine_bound --
UPDATE quarantine SET state = 'gone' WHERE feed = ? AND whole_file = 1 AND state = 'open' AND id NOT IN (
  SELECT id FROM quarantine WHERE feed = ? AND whole_file = 1 AND state = 'open' ORDER BY since DESC, id LIMIT ?)
-- quarantine_get --
SELECT * FROM quarantine WHERE id = ?
-- quarantine_of_content --
SELECT state FROM quarantine WHERE feed = ? AND sha256 = ? AND whole_file = 1 AND state IN ('open', 'dropped') LIMIT 1
-- quarantine_file_gone --
UPDATE quarantine SET state = 'gone' WHERE feed = ? AND sha256 = ? AND whole_file = 1 AND state = 'open'
-- quarantine_list --
SELECT * FROM quarantine WHERE state = 'open' ORDER BY since DESC, id LIMIT ?
-- quarantine_count --
SELECT feed, count(*) AS n FROM quarantine WHERE state = 'open' GROUP BY feed
-- quarantine_close --
UPDATE quarantine SET state = ? WHERE id = ? AND state = 'open'
-- quarantine_rows_close --
UPDATE quarantine SET state = 'gone' WHERE feed = ? AND whole_file = 0 AND state = 'open'
-- quarantine_row_cleared --
UPDATE quarantine SET n = n - 1, state = CASE WHEN n <= 1 THEN 'gone' ELSE state END WHERE id = ? AND state = 'open'

-- hold_count --
SELECT feed, count(*) AS n FROM hold WHERE state = 'open' GROUP BY feed
-- copies_referenced --
SELECT sha256 FROM feed WHERE sha256 <> ''
UNION SELECT sha256 FROM hold WHERE state = 'open'
UNION SELECT sha256 FROM quarantine WHERE whole_file = 1 AND state = 'open'
UNION SELECT value FROM meta WHERE name = 'full_copy'
-- feed_seen_again --
UPDATE feed SET file = ?, mtime_ns = ?, as_of_from = ?, as_of_to = ?, as_of_kind = ? WHERE name = ?

-- device_get --
SELECT * FROM device WHERE name = ?
-- device_put --
INSERT INTO device (name, last_text, last_symbology, last_at, acked, scans, repeated, noise)
VALUES (:name, :text, :symbology, CASE WHEN :text IS NULL THEN NULL ELSE :at END, :acked, :scans, :repeated, :noise)
ON CONFLICT (name) DO UPDATE SET
  last_symbology = CASE WHEN :text IS NULL THEN last_symbology ELSE :symbology END,
  last_at = CASE WHEN :text IS NULL THEN last_at ELSE :at END,
  acked = CASE WHEN :text IS NULL THEN acked ELSE :acked END,
  last_text = coalesce(:text, last_text),
  scans = scans + :scans, repeated = repeated + :repeated, noise = noise + :noise
-- device_acked --
UPDATE device SET acked = 1 WHERE name = ?
