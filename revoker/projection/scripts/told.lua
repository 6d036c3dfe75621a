-- Takes away what was told, and leaves what came meanwhile. ARGV: pairs of a revocation and a count.
for i = 1, #ARGV, 2 do
  if redis.call('HINCRBY', 'revoker:revoked:dropped', ARGV[i], -ARGV[i + 1]) <= 0 then
    redis.call('HDEL', 'revoker:revoked:dropped', ARGV[i])
  end
end
