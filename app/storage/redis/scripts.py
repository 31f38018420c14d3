"""Every line of Lua about prompts and generations, with KEYS and ARGV in order.

Each writer about a prompt holds its lease, and the scripts check it: a
reader that read the manifest just before a purge could otherwise write the
entry just after it. The token of a lease is made before the first attempt, so
that every script may run twice.

An entry is a string: eight bytes that tell when it was last asked for (ms since
1970, big-endian; zeros: never), and behind them the record. One without a
record has lost its picture, and counts as none.
"""

from __future__ import annotations

from app.storage.redis.client.script import Script

# KEYS entry, hits. ARGV now in eight bytes. The hit path: one look-up, one
# INCR; whole entries are returned, since Lua copies what it cuts.
# Without `allow-oom`, so that a full Redis refuses it: see PEEK.
LOOK_UP = Script.of("""\
#!lua
local entry = redis.call('GET', KEYS[1])
if not entry or #entry <= 8 then return false end
redis.call('SETRANGE', KEYS[1], 0, ARGV[1])
return {entry, redis.call('INCR', KEYS[2])}
""")

# KEYS entry, hits. What is there, uncounted: lists, and a Redis without memory.
PEEK = Script.of("""\
#!lua flags=no-writes
local entry = redis.call('GET', KEYS[1])
if not entry or #entry <= 8 then return false end
return {entry, redis.call('GET', KEYS[2])}
""")

# KEYS entry, failure, lease, hold. ARGV token, milliseconds.
ACQUIRE = Script.of("""\
#!lua
if redis.call('STRLEN', KEYS[1]) > 8 then return {'painted'} end
local hold = redis.call('GET', KEYS[4])
if hold then return {'failed', hold, redis.call('PTTL', KEYS[4])} end
local failure = redis.call('GET', KEYS[2])
if failure then return {'failed', failure, redis.call('PTTL', KEYS[2])} end
local holder = redis.call('GET', KEYS[3])
if holder and holder ~= ARGV[1] then return {'follow', holder} end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
return {'lead'}
""")

# KEYS lease. ARGV token, milliseconds. Takes it, keeps it, or names its holder;
# a lease that has run out can be taken by any token.
_HOLD = """\
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return holder end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
"""
HOLD = Script.of(f"#!lua\n{_HOLD}")
# The same for a purge: it needs some bytes, and frees more.
HOLD_TO_FREE = Script.of(f"#!lua flags=allow-oom\n{_HOLD}")

# KEYS lease. ARGV token, milliseconds. Keeps it, and takes no vacant one: what
# its holder has read meanwhile may have been purged.
RENEW = Script.of("""\
#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

# KEYS lease, job. ARGV token, job, milliseconds.
KEEP_JOB = Script.of("""\
#!lua
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
""")

# KEYS lease, job. ARGV token.
DROP_JOB = Script.of("""\
#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[2])
""")

# KEYS entry, failure, lease, job. ARGV token, record, channel, prompt hash.
# The entry, with the last access that it had, then the event, then the lease.
COMMIT = Script.of("""\
#!lua
if redis.call('GET', KEYS[3]) ~= ARGV[1] then return 0 end
local last_access = redis.call('GETRANGE', KEYS[1], 0, 7)
if last_access == '' then last_access = string.rep('\\0', 8) end
redis.call('SET', KEYS[1], last_access .. ARGV[2])
redis.call('DEL', KEYS[2], KEYS[4])
redis.call('PUBLISH', ARGV[3], ARGV[4])
redis.call('DEL', KEYS[3])
return 1
""")

# KEYS failure (or hold), lease, and the job unless it stays.
# ARGV token, failure, milliseconds, channel, prompt hash.
FAIL = Script.of("""\
#!lua
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[5])
redis.call('DEL', unpack(KEYS, 2))
return 1
""")

# KEYS failure, lease. ARGV token, failure, milliseconds. Its leader goes on.
NOTE = Script.of("""\
#!lua
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""")

# KEYS failure, hold. A hold is a failure that outlasts a purge.
REMEMBERED = Script.of("""\
#!lua flags=no-writes
local hold = redis.call('GET', KEYS[2])
if hold then return {hold, redis.call('PTTL', KEYS[2])} end
local failure = redis.call('GET', KEYS[1])
return failure and {failure, redis.call('PTTL', KEYS[1])}
""")

# KEYS lease. ARGV token, channel, prompt hash.
RELEASE = Script.of("""\
#!lua flags=allow-oom
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PUBLISH', ARGV[2], ARGV[3])
redis.call('DEL', KEYS[1])
return 1
""")

# KEYS entry, hits, failure, lease, left, job. ARGV token, what a purge has left.
FORGET = Script.of("""\
#!lua flags=allow-oom
if redis.call('GET', KEYS[4]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[6])
redis.call('SET', KEYS[5], ARGV[2])
return 1
""")

# KEYS left, lease. ARGV token.
FINISH = Script.of("""\
#!lua flags=allow-oom
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")

# KEYS entry, lease. ARGV token. The last access stays, and so do the hits.
WITHDRAW = Script.of("""\
#!lua flags=allow-oom
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('SET', KEYS[1], redis.call('GETRANGE', KEYS[1], 0, 7))
end
return 1
""")

# KEYS entry, and its hits where they go with it. ARGV record. Compare and delete:
# else hits and last access stay.
DROP = Script.of("""\
#!lua flags=allow-oom
local entry = redis.call('GET', KEYS[1])
if not entry or string.sub(entry, 9) ~= ARGV[1] then return 0 end
if KEYS[2] then
  redis.call('DEL', KEYS[1], KEYS[2])
else
  redis.call('SET', KEYS[1], string.sub(entry, 1, 8))
end
return 1
""")

# KEYS generation. ARGV record, seconds, channel, generation id.
KEEP_GENERATION = Script.of("""\
#!lua
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[4])
return 1
""")

# KEYS open generations. ARGV milliseconds, members. By Redis's own clock.
WATCH_GENERATIONS = Script.of("""\
#!lua
local time = redis.call('TIME')
local due = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], due, ARGV[i]) end
return 1
""")

# KEYS open generations. ARGV milliseconds, at most so many. Those that are due
# are given to one replica, and become due again that much later.
CLAIM_GENERATIONS = Script.of("""\
#!lua
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
for _, member in ipairs(found) do
  redis.call('ZADD', KEYS[1], now + ARGV[1], member)
end
return found
""")
