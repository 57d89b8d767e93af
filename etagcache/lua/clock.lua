-- What all scripts begin with, after the constants: the time in ms, and numbers as text.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Numbers of this size lose digits unless they are formatted.
local function text(n)
  return string.format('%.0f', n)
end

-- number returns a stored number, or nil if it is anything else. Times have 13 digits.
local function number(value)
  return value and #value <= 13 and tonumber(string.match(value, '^%d+$') or nil)
end

