"""Every line of Lua about accounts and rates, with the order of KEYS and ARGV.

An account is a hash: `settled` and `reserved` are sums, `known` says that they
are whole, and `i:` before an item's name has its state, `r` (reserved) or `s`
(settled), and its amount. A sorted set has when each item is due (ms): what is
still reserved then counts as settled, and what was given back is forgotten.
Amounts are below 2^53, where Lua's numbers are exact.
"""

from __future__ import annotations

from app.storage.redis.client.connection import Script

# What every script about an account begins with. KEYS account, due.
_ACCOUNT = """\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(amount) return string.format('%.0f', amount) end
local function add(field, amount)
  redis.call('HINCRBY', KEYS[1], field, text(amount))
end
local function state_of(item)
  local kept = redis.call('HGET', KEYS[1], 'i:' .. item)
  if not kept then return nil, 0 end
  return string.sub(kept, 1, 1), tonumber(string.sub(kept, 2))
end
local function set(item, state, amount)
  redis.call('HSET', KEYS[1], 'i:' .. item, state .. text(amount))
end
local function sweep()
  for _, item in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    local state, amount = state_of(item)
    if state == 'r' then
      add('reserved', -amount)
      add('settled', amount)
      set(item, 's', amount)
    elseif state == 's' and amount == 0 then
      redis.call('HDEL', KEYS[1], 'i:' .. item)
    end
    redis.call('ZREM', KEYS[2], item)
  end
end
local function sum(field)
  return tonumber(redis.call('HGET', KEYS[1], field) or '0')
end
"""

# KEYS account, due. ARGV item, amount, limit or -1, ms to settle, ms to keep or 0.
RESERVE = Script.of(f"""\
#!lua
{_ACCOUNT}
if redis.call('HEXISTS', KEYS[1], 'known') == 0 then return {{'unknown'}} end
sweep()
local amount, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local state, kept = state_of(ARGV[1])
if state and (state == 'r' or kept > 0) then return {{'reserved'}} end
local settled, reserved = sum('settled'), sum('reserved')
if limit >= 0 and settled + reserved + amount > limit then
  return {{'exhausted', text(settled), text(reserved)}}
end
set(ARGV[1], 'r', amount)
add('reserved', amount)
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
if ARGV[5] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return {{'reserved'}}
""")

# KEYS account, due. ARGV item, amount, ms for which what was given back is known.
# An account that nothing is known of is counted from the ledger, item and all.
SETTLE = Script.of(f"""\
#!lua
{_ACCOUNT}
if redis.call('HEXISTS', KEYS[1], 'known') == 0 then return 0 end
local amount = tonumber(ARGV[2])
local state, before = state_of(ARGV[1])
if state == 'r' then
  add('reserved', -before)
  add('settled', amount)
else
  add('settled', amount - before)
end
set(ARGV[1], 's', amount)
if amount == 0 then
  redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
""")

# KEYS account, due. ARGV 1 with the last items, ms to keep or 0, then item and
# amount of each.
COUNT = Script.of(f"""\
#!lua
{_ACCOUNT}
for at = 3, #ARGV, 2 do
  if redis.call('HSETNX', KEYS[1], 'i:' .. ARGV[at], 's' .. ARGV[at + 1]) == 1 then
    add('settled', tonumber(ARGV[at + 1]))
  end
end
if ARGV[1] == '1' then redis.call('HSET', KEYS[1], 'known', 1) end
if ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
""")

# KEYS account, due.
BALANCE = Script.of(f"""\
#!lua flags=allow-oom
{_ACCOUNT}
if redis.call('HEXISTS', KEYS[1], 'known') == 0 then return false end
sweep()
return {{text(sum('settled')), text(sum('reserved'))}}
""")

# KEYS events. ARGV event, limit, window in ms. Scores are microseconds of
# Redis's own clock, which is one for all replicas.
RATE = Script.of("""\
#!lua
local time = redis.call('TIME')
local now, window = time[1] * 1000000 + time[2], ARGV[3] * 1000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - window))
local within = 1
local count = redis.call('ZCARD', KEYS[1])
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if count < tonumber(ARGV[2]) then
    redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    count = count + 1
  else
    within = 0
  end
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
local reset = oldest[2] and tonumber(oldest[2]) + window - now or 0
return {within, tonumber(ARGV[2]) - count, math.ceil(reset / 1000)}
""")
