-- Where partitions start: where Redis stands, else where the log begins.
-- ARGV: the build; pairs of a partition and the first offset that its log still has.
-- Answers the starts in that order, or nothing where the keys are those of another build.
if redis.call('HGET', 'revoker:revoked:state', 'build') ~= ARGV[1] then
  return {}
end
local starts = {}
for i = 2, #ARGV, 2 do
  local stored = tonumber(redis.call('HGET', 'revoker:revoked:positions', ARGV[i]) or '')
  local first = tonumber(ARGV[i + 1])
  if not stored or stored < first then
    redis.call('HSET', 'revoker:revoked:positions', ARGV[i], ARGV[i + 1])
    stored = first
  end
  starts[#starts + 1] = stored
end
return starts
