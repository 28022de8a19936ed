-- Ledger of shared limits: divides each limit among the replicas of the gateway. One call renews all leases of one
-- replica. leases.py has the replica's side.
--
-- KEYS  one hash for each limit
-- ARGV  id, number of the call, ttl, step; then limit, held, used, need and keep for each key. Times are
--       milliseconds.
-- Returns quota, replicas, unused and whether the ledger is settled, for each key.
--
-- The sum of what the entries count is what the replicas hold and use. A grant is never more than the limit less
-- the entries of the others. An entry never counts less than its replica still holds.

local id, call = ARGV[1], tonumber(ARGV[2])
local ttl, step = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local wall = time[1] * 1000 + math.floor(time[2] / 1000)
local DAY = 24 * 60 * 60 * 1000
local FEW = 16 -- The idle replicas together keep at most this part of a limit, once another one needs it.

-- Raise shares equally, each up to its own bound, until the amount is used up. Return the rest of it.
-- A remainder smaller than the number of shares goes to some of them, in turn.
local function fill(amount, shares, bounds, turn)
  while amount > 0 do
    local open = {}
    for i = 1, #shares do
      if shares[i] < bounds[i] then open[#open + 1] = i end
    end
    if #open == 0 then break end
    local each = math.floor(amount / #open)
    if each == 0 then
      for k = 0, amount - 1 do
        local i = open[(turn + k) % #open + 1]
        shares[i] = shares[i] + 1
      end
      return 0
    end
    for _, i in ipairs(open) do
      local more = math.min(each, bounds[i] - shares[i])
      shares[i] = shares[i] + more
      amount = amount - more
    end
  end
  return amount
end

-- The part of the limit for one of the replicas: a few for each, then what they need, then the rest equally.
local function share_of(amount, limit, ids, needs, turn)
  local shares, few, all, place = {}, {}, {}, 0
  for i = 1, #ids do
    shares[i], few[i], all[i] = 0, math.floor(limit / (FEW * #ids)), limit
    if ids[i] == id then place = i end
  end
  amount = fill(amount, shares, few, turn)
  amount = fill(amount, shares, needs, turn)
  fill(amount, shares, all, turn)
  return shares[place]
end

local function renew(key, limit, held, used, need, keep)
  local now, opens, entries = 0, ttl, {}
  local flat = redis.call('HGETALL', key)
  for i = 1, #flat, 2 do
    local n = {}
    for number in string.gmatch(flat[i + 1], '%-?%d+') do n[#n + 1] = tonumber(number) end
    if flat[i] == 'clock' then
      -- The time that passed since the last call. A clock that is set forward counts as one step, back as none.
      now, opens = n[1] + math.min(math.max(wall - n[2], 0), step), n[3]
    else
      entries[flat[i]] = {call = n[1], held = n[2], used = n[3], need = n[4], leased = n[5], kept = n[6]}
    end
  end

  -- What the others count.
  local others, all_used, amount, needs = 0, used, limit, {}
  for name, entry in pairs(entries) do
    if name ~= id then
      if now < entry.leased then
        others = others + math.max(entry.held, entry.used)
        if entry.need >= 0 then needs[name] = entry.need else amount = amount - entry.used end
        all_used = all_used + entry.used
      elseif now < entry.kept then
        others, amount, all_used = others + entry.used, amount - entry.used, all_used + entry.used
      else
        redis.call('HDEL', key, name)
      end
    end
  end

  local mine = entries[id]
  if mine and mine.call >= call then return {0, 0, 0, 0} end -- an older call that was delayed: its caller has gone
  local settled = now >= opens
  -- A replica that is not known has no lease, unless the ledger has lost its memory.
  local base = 0
  if not settled or (mine and now < mine.leased) then base = held end

  local quota = 0
  if need >= 0 then
    needs[id] = need
    local ids, values = {}, {}
    for name in pairs(needs) do ids[#ids + 1] = name end
    table.sort(ids)
    for i, name in ipairs(ids) do values[i] = needs[name] end
    local share = share_of(amount, limit, ids, values, math.floor(now / ttl))
    quota = settled and math.max(0, math.min(share, limit - others)) or math.min(base, limit)
  end

  if need < 0 and used == 0 then
    redis.call('HDEL', key, id)
  else
    local counted = math.max(quota, base)
    local entry = {call, counted, used, need, now + ttl, now + keep}
    for i, number in ipairs(entry) do entry[i] = string.format('%.0f', number) end
    redis.call('HSET', key, id, table.concat(entry, ' '))
  end
  redis.call('HSET', key, 'clock', string.format('%.0f %.0f %.0f', now, wall, opens))
  redis.call('PEXPIRE', key, DAY)

  local replicas = 0
  for _ in pairs(needs) do replicas = replicas + 1 end
  return {quota, replicas, math.max(0, limit - all_used), settled and 1 or 0}
end

local grants = {}
for i, key in ipairs(KEYS) do
  local at = 5 * i
  grants[i] = renew(
    key, tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]),
    tonumber(ARGV[at + 4])
  )
end
return grants
