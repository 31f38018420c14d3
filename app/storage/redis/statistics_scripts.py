"""Every line of Lua about a project's sums and lists, with KEYS and ARGV in order."""

from __future__ import annotations

from app.storage.redis.client.script import Script

# KEYS statistics, by recency, by hits, batch, history of the batch's day. ARGV
# batch number, hour, how long the day is kept (s); number of sums, then name and
# amount of each; number of removals, then member and bytes of each; number of
# accesses, then member, ms and hits of each; number of additions, then member,
# ms and bytes of each. A batch that came through although its reply was lost is
# not applied again. An empty list has no bytes, whatever was summed up.
APPLY = Script.of("""\
#!lua
local last = tonumber(redis.call('GET', KEYS[4]) or '0')
if tonumber(ARGV[1]) <= last then return 0 end
redis.call('SET', KEYS[4], ARGV[1], 'EX', 3600)
local at = 4
local function next_value() at = at + 1; return ARGV[at - 1] end
for _ = 1, tonumber(next_value()) do
  local name, amount = next_value(), next_value()
  redis.call('HINCRBYFLOAT', KEYS[1], name, amount)
  redis.call('HINCRBYFLOAT', KEYS[5], ARGV[2] .. ':' .. name, amount)
end
redis.call('EXPIRE', KEYS[5], ARGV[3])
local stored = 0
local removals = tonumber(next_value())
for _ = 1, removals do
  local member, bytes = next_value(), next_value()
  redis.call('ZREM', KEYS[3], member)
  if redis.call('ZREM', KEYS[2], member) == 1 then stored = stored - bytes end
end
local accesses = {}
for n = 1, tonumber(next_value()) do
  accesses[n] = {next_value(), next_value(), next_value()}
end
for _ = 1, tonumber(next_value()) do
  local member, ms, bytes = next_value(), next_value(), next_value()
  redis.call('ZADD', KEYS[3], 'NX', 0, member)
  if redis.call('ZADD', KEYS[2], 'NX', ms, member) == 1 then stored = stored + bytes end
end
for n = 1, #accesses do
  local latest = tonumber(redis.call('HGET', KEYS[1], 'last_accessed_ms') or '0')
  if tonumber(accesses[n][2]) > latest then
    redis.call('HSET', KEYS[1], 'last_accessed_ms', accesses[n][2])
  end
  redis.call('ZADD', KEYS[2], 'XX', 'GT', accesses[n][2], accesses[n][1])
  redis.call('ZADD', KEYS[3], 'XX', 'GT', accesses[n][3], accesses[n][1])
end
if removals > 0 and redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('HSET', KEYS[1], 'bytes_stored', 0)
elseif stored ~= 0 then
  redis.call('HINCRBY', KEYS[1], 'bytes_stored', stored)
end
return 1
""")

# KEYS list. ARGV score and member of the last one that was seen, limit.
# Where that one has moved on meanwhile, its old place is where the list goes on.
PAGE = Script.of("""\
#!lua flags=no-writes
local from = 0
if ARGV[2] ~= '' then
  local score = redis.call('ZSCORE', KEYS[1], ARGV[2])
  if score and tonumber(score) == tonumber(ARGV[1]) then
    from = redis.call('ZREVRANK', KEYS[1], ARGV[2]) + 1
  else
    from = redis.call('ZCOUNT', KEYS[1], '(' .. ARGV[1], '+inf')
  end
end
return redis.call('ZREVRANGE', KEYS[1], from, from + ARGV[3] - 1, 'WITHSCORES')
""")

# KEYS statistics, by recency. Sums by name, and the size of the list.
READ_STATISTICS = Script.of("""\
#!lua flags=no-writes
local sums = redis.call('HGETALL', KEYS[1])
sums[#sums + 1] = 'entries'
sums[#sums + 1] = tostring(redis.call('ZCARD', KEYS[2]))
return sums
""")
