/**
 * What every script of the store begins with. KEYS[1] is the prefix of all keys. `charge` says what a hash now takes: in the
 * hash, in all (`bytes`) and in its scope (`scope:bytes`).
 */
const BEGINNING = `
local P = KEYS[1]
local call = redis.call
local function int(x) return string.format('%.0f', x) end
local function now() local t = call('TIME') return t[1] * 1000 + math.floor(t[2] / 1000) end
local function charge(key, bytes)
  local scope, old = unpack(call('HMGET', key, 'scope', 'bytes'))
  local more = int(bytes - tonumber(old))
  call('HSET', key, 'bytes', int(bytes))
  call('INCRBY', P .. 'bytes', more)
  if call('HINCRBY', P .. 'scope:bytes', scope, more) == 0 then call('HDEL', P .. 'scope:bytes', scope) end
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
