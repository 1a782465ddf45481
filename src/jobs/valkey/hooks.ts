/**
 * Where the ends of one kind wait to be told, in Lua. With `hook` as PREFIX: `PREFIX:SCOPE|HOST` is a sorted set of the names
 * whose end is to be told there, by when that is due, `PREFIXs:SCOPE` one of the hosts by when their first is, `PREFIXs` one of the
 * scopes, and `PREFIXed` a set of all these names. Their hash has the fields scope, host, hook, tok and hf.
 *
 * @param hash the function that makes a name the key of its hash
 */
export function hooksOf(
  hash: string,
  prefix: string
): { functions: string; tell: (remaining: string) => string; told: string } {
  return {
    functions: `
local function first(set) return call('ZRANGE', set, 0, 0, 'WITHSCORES') end
local function wait_at(scope, host, name, time)
  local of_host, of_scope = P .. '${prefix}:' .. scope .. '|' .. host, P .. '${prefix}s:' .. scope
  if time then
    call('ZADD', of_host, int(time), name)
    call('SADD', P .. '${prefix}ed', name)
  else
    call('ZREM', of_host, name)
    call('SREM', P .. '${prefix}ed', name)
  end
  local due = first(of_host)[2]
  if due then call('ZADD', of_scope, due, host) else call('ZREM', of_scope, host) end
  due = first(of_scope)[2]
  if due then call('ZADD', P .. '${prefix}s', due, scope) else call('ZREM', P .. '${prefix}s', scope) end
end
local function tell_at(name, time)
  local scope, host = unpack(call('HMGET', ${hash}(name), 'scope', 'host'))
  if host then wait_at(scope, host, name, time) end
end
`,
    /** token lease busy(JSON) keep; `remaining` is in Lua, of `name` and `time` */
    tell: (remaining) => `
local token, lease, busy, keep = ARGV[1], ARGV[2], cjson.decode(ARGV[3]), ARGV[4]
local scopes, hosts, time = {}, {}, int(now())
for _, scope in ipairs(busy.scopes) do scopes[scope] = true end
for _, one in ipairs(busy.hosts) do hosts[one.scope .. '|' .. one.host] = true end
for _, scope in ipairs(call('ZRANGE', P .. '${prefix}s', '-inf', time, 'BYSCORE')) do
  local due = scopes[scope] and {} or
    call('ZRANGE', P .. '${prefix}s:' .. scope, '-inf', time, 'BYSCORE', 'LIMIT', 0, #busy.hosts + 1)
  for _, host in ipairs(due) do
    if not hosts[scope .. '|' .. host] then
      local name = first(P .. '${prefix}:' .. scope .. '|' .. host)[1]
      local hook, failures = get(name, 'hook', 'hf')
      if hook then
        call('HSET', ${hash}(name), 'tok', token)
        tell_at(name, time + lease)
        return {name, hook, failures or '0', int(${remaining}), state(name)}
      end
      -- A gateway that knows nothing of this has forgotten it.
      wait_at(scope, host, name)
    end
  end
end
return false`,
    /** name token again failures; again is empty for never */
    told: `
local name = ARGV[1]
if get(name, 'tok') ~= ARGV[2] then return end
call('HDEL', ${hash}(name), 'tok')
if ARGV[3] == '' then return tell_at(name) end
call('HSET', ${hash}(name), 'hf', ARGV[4])
tell_at(name, now() + ARGV[3])`
  }
}
