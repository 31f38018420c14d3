"""Every line of Lua about transient images.

The accounts lie in one slot, so that both quotas, expiry and the list are decided
by one script at one moment; the bytes lie each in the slot of its own id, which
is all that a reader knows. The steps between them are described in `transient`.

KEYS of the accounts: records (hash: id to size, created, expires, type, project;
expires is 0 for never), listed (sorted set of `project id`, all of score 0),
due (sorted set of ids by when they go), used (hash: bytes by project, by
`project pending`, and `total`), tombstones (sorted set of ids whose bytes must
go), digests (hash: id to SHA-256, once it was asked for).

An id is pending until it is listed. Each script begins by taking out whatever
is due, so that none of them ever sees an expired picture counted. Thousands
that are due at once would hold Redis up: a script that has taken out a batch
of them does nothing else, answers `again`, and is to be run again.
"""

from __future__ import annotations

from app.storage.redis.client.script import Script

# Each takes Redis some 8 microseconds.
TAKEN_OUT_AT_ONCE = 500

# A key is expired from the millisecond after its time on, and so is an id.
_ACCOUNTS = """\
local records, listed, due, used = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local tombstones, digests = KEYS[5], KEYS[6]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function ms(number) return string.format('%.0f', number) end
local function parse(record)
  return string.match(record, '^(%d+) (%d+) (%d+) (%S+) (%S+)$')
end
local function first_of(project) return '[' .. project .. ' ' end
local function behind(project) return '(' .. project .. '!' end
local function bytes_of(field)
  return tonumber(redis.call('HGET', used, field) or '0')
end
local function count(field, bytes)
  if redis.call('HINCRBY', used, field, ms(bytes)) == 0 then
    redis.call('HDEL', used, field)
  end
end
local function take_out(id)
  redis.call('ZREM', due, id)
  local record = redis.call('HGET', records, id)
  if not record then return end
  redis.call('HDEL', records, id)
  redis.call('HDEL', digests, id)
  local size, _, _, _, project = parse(record)
  local was_listed = redis.call('ZREM', listed, project .. ' ' .. id) == 1
  count(was_listed and project or project .. ' pending', -size)
  count('total', -size)
  redis.call('ZADD', tombstones, ms(now), id)
end
local gone = redis.call('ZRANGEBYSCORE', due, '-inf', '(' .. ms(now), 'LIMIT', 0, BATCH)
for _, id in ipairs(gone) do
  take_out(id)
end
if #gone == BATCH then return 'again' end
""".replace("BATCH", str(TAKEN_OUT_AT_ONCE))

# ARGV id, project, size, type, ttl ms (0: none), ms to finish within, then the
# quota: bytes of the project, bytes in all (-1: no bound), pictures of the project.
# Returns created, deadline and expires; or whose room is used up.
# Without `allow-oom`: what can't be stored need not be begun.
RESERVE = Script.of(
    "#!lua\n"
    + _ACCOUNTS
    + """\
local id, project, size = ARGV[1], ARGV[2], tonumber(ARGV[3])
local begun = redis.call('HGET', records, id)
if begun then
  local _, created, expires = parse(begun)
  return {created, redis.call('ZSCORE', due, id), expires}
end
local used = bytes_of(project) + bytes_of(project .. ' pending')
if used + size > tonumber(ARGV[7]) then return 'project' end
local in_all = tonumber(ARGV[8])
if in_all >= 0 and bytes_of('total') + size > in_all then return 'total' end
local pictures = redis.call('ZLEXCOUNT', listed, first_of(project), behind(project))
if pictures >= tonumber(ARGV[9]) then return 'count' end
local ttl = tonumber(ARGV[5])
local expires = ttl > 0 and ms(now + ttl) or '0'
local deadline = ms(now + tonumber(ARGV[6]))
redis.call('HSET', records, id,
  table.concat({ARGV[3], ms(now), expires, ARGV[4], project}, ' '))
redis.call('ZADD', due, deadline, id)
count(project .. ' pending', size)
count('total', size)
return {ms(now), deadline, expires}
"""
)

# ARGV id. 0: the reservation has run out. Without `allow-oom`: the picture that
# overfills Redis is the one that goes again.
CONFIRM = Script.of(
    "#!lua\n"
    + _ACCOUNTS
    + """\
local id = ARGV[1]
local record = redis.call('HGET', records, id)
if not record then return 0 end
local size, _, expires, _, project = parse(record)
if redis.call('ZADD', listed, 0, project .. ' ' .. id) == 0 then return 1 end
count(project .. ' pending', -size)
count(project, tonumber(size))
if expires == '0' then
  redis.call('ZREM', due, id)
else
  redis.call('ZADD', due, expires, id)
end
return 1
"""
)

# ARGV project, type or '' for any, then ids. Returns the ids that were taken
# out, and those whose bytes an earlier attempt may have left behind.
FORGET = Script.of(
    "#!lua flags=allow-oom\n"
    + _ACCOUNTS
    + """\
local out, left = {}, {}
for n = 3, #ARGV do
  local id = ARGV[n]
  local record = redis.call('HGET', records, id)
  if record then
    local _, _, _, kind, project = parse(record)
    if project == ARGV[1] and (ARGV[2] == '' or ARGV[2] == kind) then
      take_out(id)
      out[#out + 1] = id
    end
  elseif redis.call('ZSCORE', tombstones, id) then
    left[#left + 1] = id
  end
end
return {out, left}
"""
)

# ARGV project. Returns now, the bytes counted, then id and record of each.
INVENTORY = Script.of(
    "#!lua flags=allow-oom\n"
    + _ACCOUNTS
    + """\
local project = ARGV[1]
local found = {now, bytes_of(project)}
for _, member in ipairs(
    redis.call('ZRANGEBYLEX', listed, first_of(project), behind(project))) do
  local id = string.sub(member, #project + 2)
  found[#found + 1] = id
  found[#found + 1] = redis.call('HGET', records, id)
end
return found
"""
)

# ARGV how many at the most. Returns ids whose bytes must go.
SWEEP = Script.of(
    "#!lua flags=allow-oom\n"
    + _ACCOUNTS
    + """\
return redis.call('ZRANGE', tombstones, 0, ARGV[1] - 1)
"""
)

# ARGV project, then ids. Returns id and digest, as far as it is known, of those
# that are listed for it.
DIGESTS = Script.of(
    "#!lua flags=allow-oom\n"
    + _ACCOUNTS
    + """\
local found = {}
for n = 2, #ARGV do
  if redis.call('ZSCORE', listed, ARGV[1] .. ' ' .. ARGV[n]) then
    found[#found + 1] = ARGV[n]
    found[#found + 1] = redis.call('HGET', digests, ARGV[n]) or ''
  end
end
return found
"""
)

# ARGV id, digest. It goes with the record.
NOTE_DIGEST = Script.of(
    "#!lua\n"
    + _ACCOUNTS
    + """\
if redis.call('HEXISTS', records, ARGV[1]) == 1 then
  redis.call('HSET', digests, ARGV[1], ARGV[2])
end
return 1
"""
)

# KEYS bytes. ARGV expires. Bytes are stored with the reservation's deadline and
# get their own here; 0: they are gone already.
SETTLE = Script.of("""\
#!lua
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[1] == '0' then
  redis.call('PERSIST', KEYS[1])
else
  redis.call('PEXPIREAT', KEYS[1], ARGV[1])
end
return 1
""")

# KEYS bytes. ARGV index of the last byte of the head.
DESCRIBE = Script.of("""\
#!lua flags=no-writes
return {redis.call('STRLEN', KEYS[1]), redis.call('GETRANGE', KEYS[1], 0, ARGV[1])}
""")
