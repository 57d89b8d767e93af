-- What is stored for a variant. Prepended to what works on variants.

-- identity returns the validator.Observed.Identity of what is stored for a variant. If
-- that is unreadable, it may be any.
local function identity(value)
  local state, date, tag = string.match(value, '^%d+ %d+ (%a)%a* (-?%d*) (.*)$')
  local strong = tag and string.sub(tag, 1, 2) == 'W/' and string.sub(tag, 3) or tag
  if state == 'a' then
    return 'absent'
  elseif state == 'p' and string.sub(strong, 1, 1) == '"' then
    return 't' .. string.sub(redis.sha1hex(strong), 1, 15)
  elseif state == 'p' and tag == '' and date ~= '-' then
    return 'd' .. string.sub(redis.sha1hex(date), 1, 15)
  elseif state == 'p' and tag == '' or state == 'u' then
    return ''
  end
  return '*'
end

-- worth_keeping reports whether what is stored for a variant is worth the whole retention: it
-- has a tag or a date.
local function worth_keeping(value)
  local date, tag = string.match(value, '^%d+ %d+ p%a* (-?%d*) (.*)$')
  return tag and (tag ~= '' or date ~= '-')
end

