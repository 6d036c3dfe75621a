-- Deletes the copies that applications have listed in sets, and those with known names, and counts them for receipts.
-- Our own keys are not for applications to list.
local function unlinked(names)
  local count = 0
  for i = 1, #names, 1000 do
    count = count + redis.call('UNLINK', unpack(names, i, math.min(i + 999, #names)))
  end
  return count
end

local function drop_listed(sets, finally)
  -- One question for all of them: hardly ever is there one.
  if #sets == 0 or redis.call('EXISTS', unpack(sets)) == 0 then
    return 0
  end
  local dropped = 0
  for _, set in ipairs(sets) do
    local listed = redis.pcall('SMEMBERS', set)
    if not listed.err then
      local theirs = {}
      for _, name in ipairs(listed) do
        if string.sub(name, 1, 8) ~= 'revoker:' then
          theirs[#theirs + 1] = name
        end
      end
      dropped = dropped + unlinked(theirs)
      if finally then
        redis.call('UNLINK', set)
      end
    end
  end
  return dropped
end

-- copies: for each notification the sets, the names, and the revocation.
local function drop_copies(copies, finally)
  local total = 0
  for _, copy in ipairs(copies) do
    local dropped = unlinked(copy[2]) + drop_listed(copy[1], finally)
    if dropped > 0 then
      redis.call('HINCRBY', 'revoker:revoked:dropped', copy[3], dropped)
      total = total + dropped
    end
  end
  return total
end
