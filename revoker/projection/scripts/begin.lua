-- Begins another build, unless somebody else has: positions are void, and nobody may trust what is there until all of
-- the topic has been read again. What is there stays: it is true, and perhaps not all.
-- ARGV: the build that is to be left (or ""); the next one; the feed's epoch; how many keys were evicted so far.
local build = redis.call('HGET', 'revoker:revoked:state', 'build') or ''
if build ~= ARGV[1] then
  return build
end
local feed = redis.call('HGET', 'revoker:revoked:state', 'feed') or ''
local past = redis.call('HGET', 'revoker:revoked:state', 'past') or ''
if feed ~= '' and feed ~= 'unknown' and feed ~= ARGV[3] then
  past = string.sub(feed .. ' ' .. past, 1, 400)
end
redis.call('HSET', 'revoker:revoked:state',
  'build', ARGV[2], 'feed', ARGV[3], 'past', past, 'evicted', ARGV[4], 'suspect', '0')
redis.call('DEL', 'revoker:revoked:epoch', 'revoker:revoked:as-of', 'revoker:revoked:positions')
return ARGV[2]
