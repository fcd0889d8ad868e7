-- What processes tell one another. algorithms/notes_book.py tells what it does and does the same.
-- KEYS: until when workers count; their numbers ("id:i"); the text.
local ask = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
if now > (tonumber(ask.expires) or now) then return {string.format('%.17g', now), '{"late":true}'} end
local ends, numbers, note = KEYS[1], KEYS[2], KEYS[3]
local n = #ask.numbers
local function text(x) return string.format('%.17g', x) end

local kept = redis.call('HMGET', note, 'told', 'text', 'version', 'written')
local told, version, written = tonumber(kept[1] or nil) or 0, tonumber(kept[3] or nil) or 0, tonumber(kept[4] or nil) or 0
local said = kept[2] or ''
if now < told then
  for _, name in ipairs(redis.call('ZRANGE', ends, 0, -1)) do redis.call('ZINCRBY', ends, text(now - told), name) end
  written = written + now - told
end

local function forget(name)
  redis.call('ZREM', ends, name)
  for i = 1, n do redis.call('HDEL', numbers, name .. ':' .. i) end
end

for _, name in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', text(now))) do forget(name) end
if ask.bye then
  forget(ask.id)
else
  redis.call('ZADD', ends, text(now + ask.ttl), ask.id)
  for i = 1, n do redis.call('HSET', numbers, ask.id .. ':' .. i, text(ask.numbers[i])) end
end
if ask.text ~= cjson.null and ask.version == version then
  version, said, written = version + 1, ask.text, now
end
redis.call('HSET', note, 'told', text(now), 'text', said, 'version', version, 'written', text(written))

local workers, others = redis.call('ZCARD', ends), {}
if workers > (ask.bye and 0 or 1) then
  for i = 1, n do others[i] = 0 end
  local all = redis.call('HGETALL', numbers)
  for k = 1, #all, 2 do
    local name, i = string.match(all[k], '^(.*):(%d+)$')
    if name ~= ask.id and tonumber(i) <= n then others[tonumber(i)] = others[tonumber(i)] + tonumber(all[k + 1]) end
  end
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, math.ceil(math.max(60, 2 * ask.ttl, ask.keep))) end
return {text(now), cjson.encode({
  workers = math.max(1, workers), others = others, text = said, version = version, age = now - written
})}
