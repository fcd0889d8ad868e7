-- A budget that many processes share. algorithms/budget_book.py tells what it does and does the same.
-- KEYS: when leases end; leases ("id:unit"); of them under way ("id:unit"), and heard to be spent ("id:h:unit"); what
-- is spent ("s:unit").
local ask = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
if now > (tonumber(ask.expires) or now) then return {string.format('%.17g', now), '{"late":true}'} end
local EPSILON, PARTS = 1e-9, 4
local ends, leases, busys, spents = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local units, n = ask.units, #ask.limits
local function text(x) return string.format('%.17g', x) end
local function number(key, field) return tonumber(redis.call('HGET', key, field) or nil) or 0 end

local told = number(spents, 'told')
if now < told then
  for _, name in ipairs(redis.call('ZRANGE', ends, 0, -1)) do redis.call('ZINCRBY', ends, text(now - told), name) end
end
redis.call('HSET', spents, 'told', text(now))

local function forget(name)
  redis.call('ZREM', ends, name)
  for _, field in ipairs(redis.call('HKEYS', spents)) do
    local unit = string.match(field, '^s:(.+)$')
    if unit then
      redis.call('HDEL', leases, name .. ':' .. unit)
      redis.call('HDEL', busys, name .. ':' .. unit, name .. ':h:' .. unit)
    end
  end
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', text(now))) do
  if name ~= ask.id then
    for _, field in ipairs(redis.call('HKEYS', spents)) do
      local unit = string.match(field, '^s:(.+)$')
      if unit then redis.call('HINCRBYFLOAT', spents, field, text(number(busys, name .. ':' .. unit))) end
    end
    forget(name)
  end
end
local spent = {}
for i = 1, n do
  local field = ask.id .. ':h:' .. units[i]
  local before = tonumber(redis.call('HGET', busys, field) or nil) or ask.told[i]
  local heard = math.max(before, ask.spent[i])
  spent[i] = tonumber(redis.call('HINCRBYFLOAT', spents, 's:' .. units[i], text(heard - before)))
  redis.call('HSET', busys, field, text(heard))
  redis.call('HSET', leases, ask.id .. ':' .. units[i], text(ask.hold[i]))
  redis.call('HSET', busys, ask.id .. ':' .. units[i], text(ask.busy[i]))
end
redis.call('ZADD', ends, text(now + ask.ttl), ask.id)
local workers = redis.call('ZCARD', ends)

local of, leased = {}, {}
local all = redis.call('HGETALL', leases)
for k = 1, #all, 2 do
  local unit = string.match(all[k], ':([^:]+)$')
  of[unit] = (of[unit] or 0) + tonumber(all[k + 1])
end
for i = 1, n do leased[i] = of[units[i]] end

local granted, short = {}, -1
if #ask.need > 0 then
  for i = 1, n do
    local free, slack = ask.limits[i] - spent[i] - leased[i], EPSILON * ask.limits[i]
    if free < slack or ask.need[i] > free + slack then
      granted, short = {}, i - 1
      break
    end
    granted[i] = math.min(free, math.max(ask.need[i], free / (PARTS * workers)))
  end
  for i = 1, #granted do
    leased[i] = leased[i] + granted[i]
    redis.call('HSET', leases, ask.id .. ':' .. units[i], text(ask.hold[i] + granted[i]))
  end
end
if ask.bye then
  forget(ask.id)
  workers = math.max(1, redis.call('ZCARD', ends))
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, math.ceil(ask.keep)) end
return {text(now), cjson.encode({granted = granted, short = short, spent = spent, leased = leased, workers = workers})}
