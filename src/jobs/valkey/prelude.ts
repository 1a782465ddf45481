/**
 * What every script of the store begins with. KEYS[1] is the prefix of all keys. `charge` says what a hash now takes: in the
 * hash, in all (`bytes`) and in its scope (`scope:bytes`), and
 * `over` whether some bytes more would be too many of either.
 *
 * Jobs that nobody has begun and records go away only by themselves. `stuck` says whether with some bytes more these would
 * leave too little for the images of one of the jobs: then nobody could begin it, and it would wait for its deadline.
 */
const BEGINNING = `
local P = KEYS[1]
local call = redis.call
local function int(x) return string.format('%.0f', x) end
local function now() local t = call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end
local function add(hash, scope, more)
  if call('HINCRBY', P .. hash, scope, more) == 0 then call('HDEL', P .. hash, scope) end
end
local function charge(key, bytes, by_scope)
  local scope, old = unpack(call('HMGET', key, 'scope', 'bytes'))
  local more = int(bytes - tonumber(old))
  call('HSET', key, 'bytes', int(bytes))
  call('INCRBY', P .. 'bytes', more)
  add('scope:bytes', scope, more)
  if by_scope then add(by_scope, scope, more) end
end
local function over(scope, more, most, scope_most)
  local used = tonumber(call('GET', P .. 'bytes') or '0')
  local own = tonumber(call('HGET', P .. 'scope:bytes', scope) or '0')
  return used + more > tonumber(most) or own + more > tonumber(scope_most)
end
local function stuck(scope, more, reserve, most, scope_most)
  local all, own = tonumber(more), tonumber(more)
  for _, hash in ipairs({'scope:new', 'scope:records'}) do
    for _, bytes in ipairs(call('HVALS', P .. hash)) do all = all + tonumber(bytes) end
    own = own + tonumber(call('HGET', P .. hash, scope) or '0')
  end
  local function largest(key)
    local top = call('ZREVRANGE', P .. key, 0, 0, 'WITHSCORES')
    return math.max(tonumber(reserve), tonumber(top[2] or '0'))
  end
  return all + largest('reserves') > tonumber(most) or own + largest('reserves:' .. scope) > tonumber(scope_most)
end
`

/** The beginning of scripts that run also at `maxmemory`, because they free more than they take, or an end depends on them. @param functions in Lua, of these scripts */
export function always(functions: string): string {
  return `#!lua flags=allow-oom\n${BEGINNING}${functions}`
}

/** The beginning of scripts that Valkey refuses at `maxmemory`. */
export function unlessFull(functions: string): string {
  return `#!lua\n${BEGINNING}${functions}`
}
