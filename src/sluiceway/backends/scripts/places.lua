-- Places that many processes share. algorithms/places_book.py tells what it does and does the same.
-- KEYS: when leases end; leases; what is wanted; when each got something last, and of the book '' (when it was asked),
-- 'since' and 'lost'.
local ask = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
if now > (tonumber(ask.expires) or now) then return {string.format('%.17g', now), '{"late":true}'} end
local ends, leases, wants, gots = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function text(x) return string.format('%.17g', x) end

local function forget(name)
  redis.call('ZREM', ends, name)
  for _, key in ipairs({leases, wants, gots}) do redis.call('HDEL', key, name) end
end

local GRACE = 3
local told = tonumber(redis.call('HGET', gots, '') or nil) or 0
local since = tonumber(redis.call('HGET', gots, 'since') or nil) or now
if now < told then  -- the clock was set back
  for _, name in ipairs(redis.call('ZRANGE', ends, 0, -1)) do
    redis.call('ZINCRBY', ends, text(now - told), name)
    redis.call('HINCRBYFLOAT', gots, name, text(now - told))
  end
  since = since + now - told
end
redis.call('HSET', gots, '', text(now), 'since', text(since))
for _, name in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', text(now))) do forget(name) end

local function others()
  local sum, all = 0, redis.call('HGETALL', leases)
  for k = 1, #all, 2 do if all[k] ~= ask.id then sum = sum + tonumber(all[k + 1]) end end
  return sum
end

local function part_of(limit)
  local wanting, count, all = {}, 0, redis.call('HGETALL', wants)
  for k = 1, #all, 2 do
    local wanted = tonumber(all[k + 1])
    if wanted > 0 then wanting[all[k]], count = wanted, count + 1 end
  end
  if not wanting[ask.id] then return 0 end
  local left, fair = limit, 0
  while true do
    fair = math.floor(left / count)
    if wanting[ask.id] <= fair then return wanting[ask.id] end
    local modest = {}
    for name, wanted in pairs(wanting) do if wanted <= fair then modest[#modest + 1] = name end end
    if #modest == 0 then break end
    for _, name in ipairs(modest) do
      left, count = left - wanting[name], count - 1
      wanting[name] = nil
    end
  end
  local rest = left - fair * count
  if rest == 0 then return fair end
  local got, before = {}, 0
  local at = redis.call('HGETALL', gots)
  for k = 1, #at, 2 do got[at[k]] = tonumber(at[k + 1]) end
  local mine = got[ask.id]
  for name, _ in pairs(wanting) do
    if got[name] < mine or (got[name] == mine and name < ask.id) then before = before + 1 end
  end
  return fair + (before < rest and 1 or 0)
end

local part, held
if ask.bye then
  forget(ask.id)
  part, held = 0, others()
else
  local lost = false
  if now - since < GRACE then
    if ask.had and not redis.call('ZSCORE', ends, ask.id) then redis.call('HSET', gots, 'lost', '1') end
    lost = redis.call('HEXISTS', gots, 'lost') == 1
  end
  redis.call('ZADD', ends, text(now + ask.ttl), ask.id)
  redis.call('HSET', wants, ask.id, ask.wanted)
  redis.call('HSETNX', gots, ask.id, '-1')
  local theirs = others()
  part = math.max(0, math.min(part_of(ask.limit), ask.limit - theirs))
  if lost then part = math.min(part, ask.busy) end
  if part > ask.busy then redis.call('HSET', gots, ask.id, text(now)) end
  local mine = math.max(part, ask.busy)
  redis.call('HSET', leases, ask.id, mine)
  held = theirs + mine
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, math.ceil(60 + 2 * ask.ttl)) end
return {text(now), cjson.encode({part = part, workers = redis.call('ZCARD', ends), held = held})}
