-- Deletes copies again that requests in flight may have written back, and plans the next time or, without one, forgets.
-- ARGV: the entry that is worked off; the next, or ""; when, in milliseconds; the copies in MessagePack.
local dropped = drop_copies(cmsgpack.unpack(ARGV[4]), ARGV[2] == '')
redis.call('ZREM', 'revoker:cached-again', ARGV[1])
if ARGV[2] ~= '' then
  redis.call('ZADD', 'revoker:cached-again', ARGV[3], ARGV[2])
end
return dropped
