-- allowance: how many may be admitted now, and when the next admission is due after so many.
-- Needs: now set tat hold_until occupancy
-- Gives: late_us allowance tat_after
-- The rate is a generic cell rate (ITU-T I.371): tat_us is when the next admission is due. Up to 0.2 s of lateness is
-- made up for, so that ticks lose nothing. After a longer pause 0.2 s of admissions, at least one, come at once. In any
-- window of w seconds that is at most 1 + (0.2 + w) * rate.
local late_us = 200000
local function due()
  local interval = 1000000 / set.admit_per_second
  -- One farther ahead than this rate can have set comes from a lower rate, or from before the clock was set back.
  if now - tat <= late_us and tat - now <= interval + 1 then return tat end
  return now - (math.max(1, math.floor(late_us / interval)) - 1) * interval
end
local function allowance(most)
  if set.state == 'bypass' then return most end
  if set.state ~= 'open' or now < hold_until then return 0 end
  if set.capacity > 0 then most = math.min(most, set.capacity - occupancy) end
  if set.admit_per_second > 0 then
    most = math.min(most, 1 + math.floor((now - due()) * set.admit_per_second / 1000000 + 0.000001))
  end
  return math.max(most, 0)
end
local function tat_after(admitted)
  if set.admit_per_second == 0 or set.state == 'bypass' then return tat end
  return math.ceil(due() + admitted * 1000000 / set.admit_per_second)
end
