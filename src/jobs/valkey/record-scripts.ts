import { PART_BYTES, RECORD_BYTES } from '../records.js'
import { hooksOf } from './hooks.js'
import { always, unlessFull } from './prelude.js'

/** What the keys begin with of records whose end is to be told (`hooks.ts`). Not that of jobs, which older gateways look for. */
export const RECORD_HOOK = 'rec-hook'
const HOOKS = hooksOf('rec', RECORD_HOOK)

/**
 * The operations on records as Valkey scripts. KEYS[1] is the prefix of all keys:
 *
 * - `rec:NAME` a hash with a record's state, `dat:NAME` one with its parts
 * - `recs:KIND/SCOPE` a sorted set of the names that are shown, by their creation in ms
 * - `open` a sorted set of the names that somebody has to work on, by the end of the claim
 * - `scope:open` how many of them each scope has
 * - `due` a sorted set of all names by their expiry
 * - `rec-hook:SCOPE|HOST`, `rec-hooks:SCOPE`, `rec-hooks` and `rec-hooked` have those whose end is to be told
 * - `bytes`, `scope:bytes` what jobs and records take, in all and by scope; `scope:records` what records take
 */
const FUNCTIONS = `
local function rec(name) return P .. 'rec:' .. name end
local function dat(name) return P .. 'dat:' .. name end
local function get(name, ...) return unpack(call('HMGET', rec(name), ...)) end
local function count(name, bytes) charge(rec(name), bytes, 'scope:records') end
local function size(name)
  local doc, parts, hook = get(name, 'doc', 'parts', 'hook')
  return ${RECORD_BYTES} + #doc + tonumber(parts) + #(hook or '')
end
local function full(scope, more, most, scope_most)
  return over(scope, more, most, scope_most) or stuck(scope, more, 0, most, scope_most)
end
local function expire(name, from, ttl)
  local time = int(from + ttl)
  call('HSET', rec(name), 'due', time)
  call('ZADD', P .. 'due', time, name)
end
local function show(name)
  local list, made = get(name, 'list', 'made')
  call('HSET', rec(name), 'shown', '1')
  call('ZADD', P .. 'recs:' .. list, made, name)
end
local function close(name)
  if call('ZREM', P .. 'open', name) == 0 then return end
  add('scope:open', get(name, 'scope'), -1)
end
${HOOKS.functions}local function drop(name)
  close(name)
  tell_at(name)
  count(name, 0)
  call('ZREM', P .. 'recs:' .. (get(name, 'list')), name)
  call('ZREM', P .. 'due', name)
  call('UNLINK', rec(name), dat(name))
end
local function held(name, attempt)
  return get(name, 'att') == attempt and call('ZSCORE', P .. 'open', name)
end
local function state(name) return call('HMGET', rec(name), 'shown', 'doc', 'made', 'due', 'cancel') end
`

const ALWAYS = always(FUNCTIONS)
const UNLESS_FULL = unlessFull(FUNCTIONS)

const CREATE = `
local name, scope, list, doc, ttl, as, most, scope_most, most_open, webhook, host = unpack(ARGV)
if call('EXISTS', rec(name)) == 1 then return {'known', state(name)} end
local bytes = ${RECORD_BYTES} + #doc + #webhook
if most ~= '' and full(scope, bytes, most, scope_most) then return {'full', {}} end
if as == 'open' then
  if tonumber(call('HGET', P .. 'scope:open', scope) or '0') >= tonumber(most_open) then return {'many', {}} end
  call('HINCRBY', P .. 'scope:open', scope, 1)
  call('ZADD', P .. 'open', 0, name)
end
local time = now()
call('HSET', rec(name), 'scope', scope, 'list', list, 'doc', doc, 'made', int(time), 'att', '0', 'parts', '0',
  'bytes', '0')
if webhook ~= '' then call('HSET', rec(name), 'hook', webhook, 'host', host) end
count(name, bytes)
expire(name, time, ttl)
if as ~= 'hidden' then show(name) end
return {'new', state(name)}`

/** The scripts by the names of their commands. */
export const RECORD_SCRIPTS = {
  /** name scope list doc ttl as bytes bytes open webhook host */
  easelRecordCreate: UNLESS_FULL + CREATE,
  /** The same, whatever the server holds already. */
  easelRecordPut: ALWAYS + CREATE,

  /** name attempt ttl bytes bytes (part value)... */
  easelRecordWrite: `${UNLESS_FULL}
local name, attempt, ttl, most, scope_most = unpack(ARGV, 1, 5)
local scope, parts, shown = get(name, 'scope', 'parts', 'shown')
if not scope or (attempt ~= '' and not held(name, attempt)) then return 'lost' end
local more = 0
for index = 6, #ARGV, 2 do
  local new = call('HEXISTS', dat(name), ARGV[index]) == 0
  more = more + #ARGV[index + 1] - call('HSTRLEN', dat(name), ARGV[index]) + (new and ${PART_BYTES} or 0)
end
if more > 0 and full(scope, more, most, scope_most) then return 'full' end
for index = 6, #ARGV, 2 do call('HSET', dat(name), ARGV[index], ARGV[index + 1]) end
call('HSET', rec(name), 'parts', int(tonumber(parts) + more))
count(name, size(name))
if not shown then expire(name, now(), ttl) end
return 'ok'`,

  /** name doc ttl */
  easelRecordPublish: `${ALWAYS}
local name = ARGV[1]
if call('EXISTS', rec(name)) == 0 then return false end
call('HSET', rec(name), 'doc', ARGV[2])
count(name, size(name))
expire(name, tonumber((get(name, 'made'))), ARGV[3])
show(name)
return state(name)`,

  /** list after limit newest_first */
  easelRecordList: `${ALWAYS}
local list, after, limit, newest = P .. 'recs:' .. ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1'
local from = 0
if after ~= '' then
  local rank = call(newest and 'ZREVRANK' or 'ZRANK', list, after)
  if not rank then return false end
  from = rank + 1
end
local found = {}
for _, name in ipairs(call(newest and 'ZREVRANGE' or 'ZRANGE', list, from, from + limit - 1)) do
  found[#found + 1] = {name, state(name)}
end
return found`,

  /** name */
  easelRecordRemove: `${ALWAYS}
local name = ARGV[1]
if call('EXISTS', rec(name)) == 0 or call('ZSCORE', P .. 'open', name) then return 0 end
drop(name)
return 1`,

  /** name */
  easelRecordCancel: `${ALWAYS}
local name = ARGV[1]
if not get(name, 'shown') then return false end
if call('ZSCORE', P .. 'open', name) then call('HSETNX', rec(name), 'cancel', int(now())) end
return state(name)`,

  /** lease busy... */
  easelRecordClaim: `${ALWAYS}
local time, busy = now(), {}
for index = 2, #ARGV do busy[ARGV[index]] = true end
local open = call('ZRANGE', P .. 'open', 0, -1, 'WITHSCORES')
local taken, best = {}, nil
for at = 1, #open, 2 do
  local scope = get(open[at], 'scope')
  if tonumber(open[at + 1]) > time then taken[scope] = (taken[scope] or 0) + 1 end
end
for at = 1, #open, 2 do
  if tonumber(open[at + 1]) <= time then
    local scope, made = get(open[at], 'scope', 'made')
    local mine, age = taken[scope] or 0, tonumber(made)
    if not busy[scope] and (best == nil or mine < best.taken or (mine == best.taken and age < best.made)) then
      best = {name = open[at], taken = mine, made = age}
    end
  end
end
if best == nil then return false end
local attempt = call('HINCRBY', rec(best.name), 'att', 1)
call('ZADD', P .. 'open', int(time + ARGV[1]), best.name)
return {best.name, int(attempt), state(best.name)}`,

  /** name attempt doc lease closed */
  easelRecordUpdate: `${ALWAYS}
local name, attempt, doc, lease, closed = unpack(ARGV)
if not held(name, attempt) then return false end
call('HSET', rec(name), 'doc', doc)
count(name, size(name))
if closed == '' then call('ZADD', P .. 'open', int(now() + lease), name)
else
  local time = now()
  close(name)
  expire(name, time, closed)
  tell_at(name, time)
end
return state(name)`,

  /** name attempt */
  easelRecordRelease: `${ALWAYS}
if held(ARGV[1], ARGV[2]) then
  call('HINCRBY', rec(ARGV[1]), 'att', 1)
  call('ZADD', P .. 'open', 0, ARGV[1])
end`,

  /** token lease busy(JSON) */
  easelRecordTell: ALWAYS + HOOKS.tell("get(name, 'due') - time"),

  /** name token again failures; again is empty for never */
  easelRecordTold: ALWAYS + HOOKS.told,

  /** most */
  easelRecordTend: `${ALWAYS}
for _, name in ipairs(call('ZRANGE', P .. 'due', '-inf', int(now()), 'BYSCORE', 'LIMIT', 0, ARGV[1])) do drop(name) end
return {call('ZCARD', P .. 'open'), call('ZCARD', P .. 'due')}`
} as const
