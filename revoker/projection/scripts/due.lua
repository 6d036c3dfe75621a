-- Which entries are due, leased for a while: whoever takes them may die.
-- ARGV: now and the end of the lease, in milliseconds; how many.
local due = redis.call('ZRANGEBYSCORE', 'revoker:cached-again', '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, entry in ipairs(due) do
  redis.call('ZADD', 'revoker:cached-again', 'XX', ARGV[2], entry)
end
return due
