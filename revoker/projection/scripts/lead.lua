-- One of the members speaks for all: whoever asks first, until it is silent. Answers 1 or 0.
-- ARGV: who asks; for how many milliseconds.
local holder = redis.call('GET', 'revoker:revoked:speaker')
if holder and holder ~= ARGV[1] then
  return 0
end
redis.call('SET', 'revoker:revoked:speaker', ARGV[1], 'PX', ARGV[2])
return 1
