"""Every line of Lua about accounts and rates, with the order of KEYS and ARGV.

An account is a hash: `settled` and `reserved` are sums, `run` is the run of the
server that it is of, and `known` is that run once the sums are whole. `i:` before an
item's name has its state, `r` (reserved) or `s` (settled), and its amount. The last
argument of each script is the run: a Redis that came back older is counted again. A
sorted set has when each item is due (ms). What is still reserved then is forgotten,
and the account with it: only the ledger knows whether its document was written. What
was given back is forgotten, too. `c:` before a count's token says that its first
chunk is still there. Amounts are below 2^53, where Lua's numbers are exact.
"""

from __future__ import annotations

from app.storage.redis.client.script import Script

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
local function give_back(item, state, amount, kept_ms)
  if state == 'r' then add('reserved', -amount) end
  if state == 's' and amount > 0 then add('settled', -amount) end
  set(item, 's', 0)
  redis.call('ZADD', KEYS[2], now + kept_ms, item)
end
local function sweep()
  for _, item in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
    local state, amount = state_of(item)
    if state == 'r' then
      add('reserved', -amount)
      redis.call('HDEL', KEYS[1], 'known')
    end
    if state == 'r' or (state == 's' and amount == 0) then
      redis.call('HDEL', KEYS[1], 'i:' .. item)
    end
    redis.call('ZREM', KEYS[2], item)
  end
end
local function sum(field)
  return tonumber(redis.call('HGET', KEYS[1], field) or '0')
end
local run = ARGV[#ARGV]
local function is_known() return redis.call('HGET', KEYS[1], 'known') == run end
"""

# What every script begins with that changes an account. What another run has left
# goes: an item may have been given back since, and its document be gone.
_CHANGE = f"""\
{_ACCOUNT}
if redis.call('HGET', KEYS[1], 'run') ~= run then
  redis.call('DEL', KEYS[1], KEYS[2])
end
"""

# KEYS account, due. ARGV item, amount, limit or -1, ms to settle, ms to keep or 0,
# the item that is replaced or '', ms for which that is known as given back.
RESERVE = Script.of(f"""\
#!lua
{_CHANGE}
sweep()
if not is_known() then return {{'unknown'}} end
local amount, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local state, kept = state_of(ARGV[1])
if state == 'r' then redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1]) end
if state and (state == 'r' or kept > 0) then return {{'reserved'}} end
local freed, before = nil, 0
if ARGV[6] ~= '' then freed, before = state_of(ARGV[6]) end
local settled, reserved = sum('settled'), sum('reserved')
if before == 0 and limit >= 0 and settled + reserved + amount > limit then
  return {{'exhausted', text(settled), text(reserved)}}
end
if before > 0 then give_back(ARGV[6], freed, before, ARGV[7]) end
set(ARGV[1], 'r', amount)
add('reserved', amount)
redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
if ARGV[5] ~= '0' then
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  redis.call('PEXPIRE', KEYS[2], ARGV[5])
end
return {{'reserved'}}
""")

# KEYS account, due. ARGV item, ms to settle.
RENEW = Script.of(f"""\
#!lua
{_CHANGE}
if state_of(ARGV[1]) ~= 'r' then return 0 end
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
return 1
""")

# KEYS account, due. ARGV item, ms to settle.
REOPEN = Script.of(f"""\
#!lua
{_CHANGE}
local state, amount = state_of(ARGV[1])
if not state or amount == 0 then return 0 end
if state == 's' then
  add('settled', -amount)
  add('reserved', amount)
  set(ARGV[1], 'r', amount)
end
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[1])
return 1
""")

# KEYS account, due. ARGV item, amount, ms for which what was given back is known.
# An account that is not known is counted from the ledger, item and all, but for
# what was given back while another replica was listing it.
SETTLE = Script.of(f"""\
#!lua
{_CHANGE}
local amount = tonumber(ARGV[2])
local state, before = state_of(ARGV[1])
if amount == 0 then
  give_back(ARGV[1], state, before, ARGV[3])
  redis.call('HSET', KEYS[1], 'run', run)
  if not is_known() then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('PEXPIRE', KEYS[2], ARGV[3])
  end
  return 1
end
if not is_known() and not state then return 0 end
if state == 'r' then
  add('reserved', -before)
  add('settled', amount)
else
  add('settled', amount - before)
end
set(ARGV[1], 's', amount)
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
""")

# KEYS account, due. ARGV item.
KEEP = Script.of(f"""\
#!lua
{_CHANGE}
local state, amount = state_of(ARGV[1])
if state ~= 'r' then return 0 end
add('reserved', -amount)
add('settled', amount)
set(ARGV[1], 's', amount)
redis.call('ZREM', KEYS[2], ARGV[1])
return 1
""")

# KEYS account, due. ARGV token, 1 with the first items, 1 with the last ones, ms
# to keep or 0, then item and amount of each. Returns 0 where what was counted
# under the token was lost meanwhile.
COUNT = Script.of(f"""\
#!lua
{_CHANGE}
local token = 'c:' .. ARGV[1]
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[1], token, 1, 'run', run)
elseif redis.call('HEXISTS', KEYS[1], token) == 0 then
  return 0
end
for at = 5, #ARGV - 1, 2 do
  if redis.call('HSETNX', KEYS[1], 'i:' .. ARGV[at], 's' .. ARGV[at + 1]) == 1 then
    add('settled', tonumber(ARGV[at + 1]))
  end
end
if ARGV[3] == '1' then
  redis.call('HSET', KEYS[1], 'known', run)
  redis.call('HDEL', KEYS[1], token)
end
if ARGV[4] == '0' then
  redis.call('PERSIST', KEYS[1])
  redis.call('PERSIST', KEYS[2])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('PEXPIRE', KEYS[2], ARGV[4])
end
return 1
""")

# KEYS account, due.
BALANCE = Script.of(f"""\
#!lua flags=allow-oom
{_ACCOUNT}
sweep()
if not is_known() then return false end
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
