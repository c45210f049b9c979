"""The scripts of the Redis log, in Lua. ``KEYS`` begin with the head and the entries of a topic."""

# The head, also where it was evicted apart from the entries: then the last of them says where it was.
_HEAD = """
local function head()
  local seq, tag, at = unpack(redis.call('HMGET', KEYS[1], 'seq', 'tag', 'at'))
  if not seq then
    local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
    if not last then return 0, '00000000', 0 end
    seq, tag, at = string.match(last[1], '%d+'), last[2][2], last[2][10]
  end
  return tonumber(seq), tag, tonumber(at)
end
local function text(number) return string.format('%.0f', number) end
"""

# Redis does not undo a script that fails: each entry moves the head before anything else may fail.
# KEYS: head, entries, this attempt, the key of each draft that has one.
# ARGV: time, how many to keep, oldest time to keep, seconds to remember the attempt and a key, and
# for each draft its tag, event, data and the number of its key or 0. Times in milliseconds.
# Gives for each draft: seq, tag, prev, and 1 if this attempt has appended it.
APPEND = (
    _HEAD
    + """
local done = redis.call('GET', KEYS[3])
if done then return cjson.decode(done) end
local seq, tag, at = head()
if seq == 0 then redis.call('DEL', KEYS[2]) end -- an empty stream would remember its last id
at = math.max(at, tonumber(ARGV[1]))
local keep, oldest, answer, appended = tonumber(ARGV[2]), tonumber(ARGV[3]), {}, false
for first = 6, #ARGV, 4 do
  local key = KEYS[3 + tonumber(ARGV[first + 3])]
  local keyed = ARGV[first + 3] ~= '0'
  local known = keyed and redis.call('GET', key)
  if known then
    local receipt = cjson.decode(known)
    receipt[4] = '0'
    answer[#answer + 1] = receipt
  else
    local receipt = {text(seq + 1), ARGV[first], tag, '1'}
    redis.call('XADD', KEYS[2], receipt[1] .. '-0', 'tag', receipt[2], 'prev', tag,
      'event', ARGV[first + 1], 'data', ARGV[first + 2], 'at', text(at))
    seq, tag, appended = seq + 1, receipt[2], true
    redis.call('HSET', KEYS[1], 'seq', text(seq), 'tag', tag, 'at', text(at))
    if keyed then redis.call('SET', key, cjson.encode(receipt), 'PX', ARGV[5]) end
    answer[#answer + 1] = receipt
  end
end
if appended then
  redis.call('XTRIM', KEYS[2], 'MAXLEN', text(keep))
  for _ = 1, oldest > 0 and 100 or 0 do
    local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
    if not first or tonumber(first[2][10]) >= oldest then break end
    redis.call('XDEL', KEYS[2], first[1])
  end
end
redis.call('SET', KEYS[3], cjson.encode(answer), 'PX', ARGV[4])
return answer
"""
)

# Gives the head's seq and tag.
HEAD = (
    _HEAD
    + """
local seq, tag = head()
return {text(seq), tag}
"""
)

# ARGV: seq to read from, and how many entries. Gives the head's seq and tag, and the entries.
READ = (
    _HEAD
    + """
local seq, tag = head()
return {text(seq), tag, redis.call('XRANGE', KEYS[2], ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])}
"""
)

# ARGV: a time. Gives the seq of the first entry that is not older: times never fall along a log.
FIRST_SINCE = (
    _HEAD
    + """
local last = head()
local first = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if not first then return text(last + 1) end
local low, high = tonumber(string.match(first[1], '%d+')), last + 1
while low < high do
  local middle = math.floor((low + high) / 2)
  local entry = redis.call('XRANGE', KEYS[2], text(middle) .. '-0', text(middle) .. '-0')[1]
  if entry and tonumber(entry[2][10]) < tonumber(ARGV[1]) then low = middle + 1 else high = middle end
end
return text(low)
"""
)
