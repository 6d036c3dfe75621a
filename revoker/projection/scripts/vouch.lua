-- Says that all that the topic held at a time is here, if it is; or that nobody may trust this.
-- ARGV: the build; the feed's epoch as it was heard, or ""; "safe" or "unsafe"; evicted keys; the time; pairs of a
-- partition and the offset at which it ended then.
local state = 'revoker:revoked:state'
if redis.call('HGET', state, 'build') ~= ARGV[1] then
  return 'build'
end
if ARGV[3] ~= 'safe' then
  redis.call('HSET', state, 'suspect', '1')
  redis.call('DEL', 'revoker:revoked:epoch', 'revoker:revoked:as-of')
  return 'unsafe'
end
redis.call('HSET', state, 'evicted', ARGV[4])
if ARGV[2] ~= '' and redis.call('HGET', state, 'feed') == 'unknown' then
  redis.call('HSET', state, 'feed', ARGV[2])
end
for i = 6, #ARGV, 2 do
  local at = tonumber(redis.call('HGET', 'revoker:revoked:positions', ARGV[i]) or '')
  if not at or at < tonumber(ARGV[i + 1]) then
    return 'behind'
  end
end
redis.call('SET', 'revoker:revoked:epoch', redis.call('HGET', state, 'feed'))
if (redis.call('GET', 'revoker:revoked:as-of') or '') < ARGV[5] then
  redis.call('SET', 'revoker:revoked:as-of', ARGV[5])
end
return 'complete'
