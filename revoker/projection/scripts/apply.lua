-- One chunk of notifications and the positions behind it, or nothing.
-- ARGV: the build under which the writer works; the chunk in MessagePack.
-- Answers "build" where the keys are those of another build (or gone), "behind" where Redis has lost what it had,
-- else "done" and how many cached copies there were.
if redis.call('HGET', 'revoker:revoked:state', 'build') ~= ARGV[1] then
  return {'build'}
end
local chunk = cmsgpack.unpack(ARGV[2])
local stored = {}
for _, move in ipairs(chunk.moves) do
  local at = tonumber(redis.call('HGET', 'revoker:revoked:positions', move[1]) or '')
  if not at or at < move[2] then
    return {'behind'}
  end
  stored[move[1]] = at
end

-- The first write is one that a full Redis refuses; what follows it in a script is not refused any more.
local entries = chunk.entries
for i = 1, #entries, 4 do
  redis.call('HSET', entries[i], entries[i + 1], entries[i + 2])
  local expiry = entries[i + 3]
  if expiry ~= '' and redis.call('EXPIREAT', entries[i], expiry, 'NX') == 0 then
    redis.call('EXPIREAT', entries[i], expiry, 'GT')
  end
end

local stream = chunk.stream
local first, last
for i = 1, #stream, 3 do
  last = redis.call('XADD', 'revoker:session-ended', '*',
    'value', stream[i], 'place', stream[i + 1], 'offset', stream[i + 2])
  first = first or last
end
if first then
  redis.call('XTRIM', 'revoker:session-ended', 'MINID', '~', chunk.stream_from)
  if #chunk.copies > 0 then
    redis.call('ZADD', 'revoker:cached-again', chunk.again_at, '0|' .. first .. '|' .. last)
  end
end

local dropped = drop_copies(chunk.copies, false)

-- Last: a script that fails is not taken back.
for _, move in ipairs(chunk.moves) do
  if move[3] > stored[move[1]] then
    redis.call('HSET', 'revoker:revoked:positions', move[1], move[3])
  end
end
return {'done', dropped}
