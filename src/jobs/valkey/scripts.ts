import { RECORD_BYTES } from '../records.js'
import { SETTLE_MS } from '../store.js'
import { hooksOf } from './hooks.js'
import { always, unlessFull } from './prelude.js'
import { RECORD_HOOK } from './record-scripts.js'

/**
 * The job store's operations as Valkey scripts. Each is atomic. KEYS[1] is the prefix of all keys:
 *
 * - `job:NAME` a hash with a job's state (the names of the fields are in `record.ts`)
 * - `in:NAME` a hash with its body, its pictures as p0, p1, ..., and its half-done images as h0, h1, ... with what they are in
 *   `halves`, a line of JSON for each; until it has ended
 * - `out:NAME` a hash with its images, by index
 * - `flow:MODEL|CLASS|SCOPE` a list of the names that wait
 * - `flows:MODEL` a sorted set of the flows by virtual time, `clock:MODEL` that of the last claim
 * - `running`, `deadline`, `ended` sorted sets of names, by the end of the lease, the deadline and the end (or `till`), in ms
 * - `hook:SCOPE|HOST`, `hooks:SCOPE`, `hooks` and `hooked` have the jobs whose end is to be told (`hooks.ts`)
 * - `bytes`, `scope:jobs`, `scope:bytes` what jobs take, in all and by scope
 * - `scope:new` what jobs take that nobody has begun; `reserves`, `reserves:SCOPE` sorted sets of them by what their images take
 * - `left:PLACE` a sorted set of files outside that no job has any more, as JSON, by when somebody may delete them, in ms
 * - `results` the place in which the gateway that came last keeps files
 * - `rate:KEY`, `key:NAME` what gateways count, and remember of idempotency keys, together; they go away by themselves
 * - `places:KEY` a sorted set of the requests in flight of an access key, by the end of the lease; it goes away by itself
 * - `seen`, `grace` when a gateway last looked, and until when no lease ends
 *
 * The server's clock decides: gateways' clocks may differ.
 */
const HOOKS = hooksOf('job', 'hook')

const FUNCTIONS = `
local RECORD = ${RECORD_BYTES}
local SETTLE = ${SETTLE_MS}
local function real(x) return string.format('%.17g', x) end
local function job(name) return P .. 'job:' .. name end
local function get(name, ...) return unpack(call('HMGET', job(name), ...)) end
local function tell(name)
  call('HINCRBY', job(name), 'rev', 1)
  call('PUBLISH', P .. 'changes', (get(name, 'st') == 'queued' and '+' or '-') .. name)
end
local function count(name, bytes) charge(job(name), bytes) end
local function enqueue(name, paid)
  local model, flow, cost, share = get(name, 'model', 'flow', 'cost', 'share')
  local list = P .. 'flow:' .. model .. '|' .. flow
  if call('EXISTS', list) == 0 then
    local clock = tonumber(call('GET', P .. 'clock:' .. model) or '0')
    local price = paid and 0 or tonumber(cost) / tonumber(share)
    call('ZADD', P .. 'flows:' .. model, real(clock + price), flow)
  end
  call(paid and 'LPUSH' or 'RPUSH', list, name)
end
local function drop_flow(model, flow)
  call('ZREM', P .. 'flows:' .. model, flow)
  if call('EXISTS', P .. 'flows:' .. model) == 0 then call('DEL', P .. 'clock:' .. model) end
end
${HOOKS.functions}-- A place that no gateway has any more keeps its list for a week.
local function add_left(at, files, after)
  call('ZADD', P .. 'left:' .. at, int(now() + after), files)
  call('PEXPIRE', P .. 'left:' .. at, 604800000)
end
local function leave(name, after)
  local at, files = get(name, 'at', 'files')
  if not files then return end
  add_left(at, files, after)
  call('HDEL', job(name), 'at', 'files')
end
local function drop_halves(name)
  local input = P .. 'in:' .. name
  local _, lines = string.gsub(call('HGET', input, 'halves') or '', '[^\\n]+', '')
  for index = 0, lines - 1 do call('HDEL', input, 'h' .. index) end
  call('HDEL', input, 'halves')
  call('HDEL', job(name), 'half')
end
-- One that comes back was once begun, so there is room for it when no other runs.
local function begin(name)
  if call('HDEL', job(name), 'new') == 0 then return end
  local scope, base = get(name, 'scope', 'base')
  add('scope:new', scope, -base)
  call('ZREM', P .. 'reserves', name)
  call('ZREM', P .. 'reserves:' .. scope, name)
end
-- Bytes of a running job. Half-done images lie where its images will.
local function running_bytes(name)
  local base, reserve, img, half = get(name, 'base', 'res', 'img', 'half')
  return tonumber(base) + math.max(tonumber(reserve), tonumber(img) + tonumber(half or '0'))
end
local function finish(name, status, outcome)
  local was, model, flow, about, img, hook = get(name, 'st', 'model', 'flow', 'about', 'img', 'hook')
  if was == 'queued' then
    local list = P .. 'flow:' .. model .. '|' .. flow
    call('LREM', list, 1, name)
    if call('EXISTS', list) == 0 then drop_flow(model, flow) end
  else
    call('ZREM', P .. 'running', name)
  end
  begin(name)
  local time = int(now())
  call('ZREM', P .. 'deadline', name)
  local till = get(name, 'till')
  if till then
    -- What is kept longer than others is in the list as if it had ended later.
    till = int(math.max(tonumber(till), tonumber(time)))
    call('HSET', job(name), 'till', till)
  end
  call('ZADD', P .. 'ended', till or time, name)
  call('UNLINK', P .. 'in:' .. name)
  call('HDEL', job(name), 'half')
  if status ~= 'succeeded' then
    call('UNLINK', P .. 'out:' .. name)
    leave(name, SETTLE)
    img = '0'
  end
  call('HSET', job(name), 'st', status, 'out', outcome, 'end', time)
  count(name, RECORD + #about + #outcome + tonumber(img) + #(hook or ''))
  tell_at(name, time)
  tell(name)
end
local function back(name, with_halves)
  if not with_halves then drop_halves(name) end
  local base, half = get(name, 'base', 'half')
  call('ZREM', P .. 'running', name)
  call('UNLINK', P .. 'out:' .. name)
  call('HSET', job(name), 'st', 'queued', 'img', '0')
  call('HDEL', job(name), 'prog')
  count(name, tonumber(base) + tonumber(half or '0'))
  enqueue(name, true)
  tell(name)
end
local function forget(name)
  local scope = get(name, 'scope')
  leave(name, 0)
  count(name, 0)
  add('scope:jobs', scope, -1)
  call('ZREM', P .. 'ended', name)
  tell_at(name)
  call('UNLINK', job(name), P .. 'out:' .. name)
  call('PUBLISH', P .. 'changes', '-' .. name)
end
local function held(name, attempt)
  local status, mine = get(name, 'st', 'att')
  return status == 'running' and mine == attempt
end
local function state(name)
  return call('HMGET', job(name), 'rev', 'st', 'fp', 'about', 'sub', 'dl', 'start', 'end', 'cr', 'prog', 'out', 'till')
end
local function ended(status) return status ~= 'queued' and status ~= 'running' end
`

const ALWAYS = always(FUNCTIONS)
const UNLESS_FULL = unlessFull(FUNCTIONS)

/** The scripts by the names of their commands. */
export const SCRIPTS = {
  /** name scope fp about model flow share cost reserve timeout bytes body staged pictures jobs bytes jobs bytes webhook host longer */
  easelSubmit: `${UNLESS_FULL}
local name, scope, fp, about, model, flow, share, cost, reserve, timeout = unpack(ARGV, 1, 10)
local bytes, body, staged, pictures, jobs_limit, bytes_limit, scope_jobs, scope_bytes, webhook, host, longer = unpack(ARGV, 11, 21)
if call('EXISTS', job(name)) == 1 then return {'known', state(name)} end
local jobs = call('ZCARD', P .. 'deadline') + call('ZCARD', P .. 'ended')
local own = tonumber(call('HGET', P .. 'scope:jobs', scope) or '0')
if jobs >= tonumber(jobs_limit) or own >= tonumber(scope_jobs) then return {'full', 'jobs'} end
if over(scope, bytes, bytes_limit, scope_bytes) then return {'full', 'bytes'} end
-- A gateway of before may have ended jobs without these.
if call('ZCARD', P .. 'deadline') == 0 then call('DEL', P .. 'scope:new', P .. 'reserves', P .. 'reserves:' .. scope) end
if stuck(scope, bytes, reserve, bytes_limit, scope_bytes) then return {'full', 'bytes'} end
local input = P .. 'in:' .. name
if staged ~= '' then
  -- What was staged may have been given up meanwhile.
  if call('EXISTS', staged) == 0 then return {'lost', ''} end
  call('RENAME', staged, input)
  call('PERSIST', input)
end
call('HSET', input, 'body', body)
local time = now()
call('HSET', job(name), 'rev', '0', 'st', 'queued', 'scope', scope, 'fp', fp, 'about', about, 'model', model,
  'flow', flow, 'share', share, 'cost', cost, 'res', reserve, 'base', bytes, 'bytes', '0', 'img', '0', 'att', '0',
  'cr', '0', 'pics', pictures, 'sub', int(time), 'dl', int(time + timeout))
call('HSET', job(name), 'new', '1')
add('scope:new', scope, bytes)
call('ZADD', P .. 'reserves', reserve, name)
call('ZADD', P .. 'reserves:' .. scope, reserve, name)
if webhook ~= '' then call('HSET', job(name), 'hook', webhook, 'host', host) end
if longer ~= '' then call('HSET', job(name), 'till', int(time + longer)) end
call('HINCRBY', P .. 'scope:jobs', scope, 1)
count(name, tonumber(bytes))
call('ZADD', P .. 'deadline', int(time + timeout), name)
enqueue(name, false)
tell(name)
return {'new', state(name)}`,

  /** owner lease bytes share busy(JSON) model... */
  easelClaim: `${UNLESS_FULL}
local owner, lease, bytes_limit, key_share = unpack(ARGV, 1, 4)
local busy = {}
for _, scope in ipairs(cjson.decode(ARGV[5])) do busy[scope] = true end
local used = tonumber(call('GET', P .. 'bytes') or '0')
local best
for index = 6, #ARGV do
  local model = ARGV[index]
  local flows = call('ZRANGE', P .. 'flows:' .. model, 0, -1, 'WITHSCORES')
  for at = 1, #flows, 2 do
    local flow, time = flows[at], tonumber(flows[at + 1])
    local scope = string.match(flow, '^%a|(.*)$')
    if not busy[scope] then
      local name = call('LINDEX', P .. 'flow:' .. model .. '|' .. flow, 0)
      local reserve, half = get(name, 'res', 'half')
      reserve = math.max(0, tonumber(reserve) - tonumber(half or '0'))
      local own = tonumber(call('HGET', P .. 'scope:bytes', scope) or '0')
      local most = scope == '' and tonumber(bytes_limit) or tonumber(key_share)
      if used + reserve <= tonumber(bytes_limit) and own + reserve <= most then
        if best == nil or time < best.time then best = {model = model, flow = flow, time = time, name = name} end
        break
      end
    end
  end
end
if best == nil then return false end
local name, list = best.name, P .. 'flow:' .. best.model .. '|' .. best.flow
call('LPOP', list)
call('SET', P .. 'clock:' .. best.model, real(best.time))
local head = call('LINDEX', list, 0)
if head then
  local cost, share = get(head, 'cost', 'share')
  call('ZADD', P .. 'flows:' .. best.model, real(best.time + tonumber(cost) / tonumber(share)), best.flow)
else
  drop_flow(best.model, best.flow)
end
begin(name)
local time = now()
local attempt = call('HINCRBY', job(name), 'att', 1)
call('HSET', job(name), 'st', 'running', 'start', int(time), 'owner', owner)
call('HDEL', job(name), 'prog')
local deadline, pictures = get(name, 'dl', 'pics')
count(name, running_bytes(name))
call('ZADD', P .. 'running', int(time + lease), name)
tell(name)
local body, halves = unpack(call('HMGET', P .. 'in:' .. name, 'body', 'halves'))
return {name, int(attempt), body, pictures, int(deadline - time), halves or ''}`,

  /** lease (name attempt)... */
  easelRenew: `${ALWAYS}
local lost, until_ = {}, int(now() + ARGV[1])
for index = 2, #ARGV, 2 do
  if held(ARGV[index], ARGV[index + 1]) then call('ZADD', P .. 'running', until_, ARGV[index])
  else lost[#lost + 1] = (index - 2) / 2 end
end
return lost`,

  /** name attempt progress */
  easelProgress: `${ALWAYS}
if held(ARGV[1], ARGV[2]) then
  call('HSET', job(ARGV[1]), 'prog', ARGV[3])
  tell(ARGV[1])
end`,

  /** name attempt index bytes */
  easelSave: `${UNLESS_FULL}
local name = ARGV[1]
if not held(name, ARGV[2]) then return 0 end
local out = P .. 'out:' .. name
call('HINCRBY', job(name), 'img', #ARGV[4] - call('HSTRLEN', out, ARGV[3]))
call('HSET', out, ARGV[3], ARGV[4])
count(name, running_bytes(name))
return 1`,

  /** name attempt first bytes bytes about half-done; first is empty if there are others already */
  easelHalf: `${UNLESS_FULL}
local name, attempt, first, bytes_limit, scope_bytes, about, half = unpack(ARGV)
if not held(name, attempt) then return 'lost' end
if first ~= '' then drop_halves(name) end
local scope, before = get(name, 'scope', 'bytes')
call('HINCRBY', job(name), 'half', #about + 1 + #half)
local bytes = running_bytes(name)
local more = bytes - tonumber(before)
if more > 0 and over(scope, more, bytes_limit, scope_bytes) then
  call('HINCRBY', job(name), 'half', -(#about + 1 + #half))
  return 'full'
end
local input = P .. 'in:' .. name
local halves = call('HGET', input, 'halves') or ''
local _, lines = string.gsub(halves, '[^\\n]+', '')
call('HSET', input, 'h' .. lines, half, 'halves', halves .. about .. '\\n')
count(name, bytes)
return 'kept'`,

  /** name attempt place files */
  easelKeepIn: `${ALWAYS}
local name, attempt, at, files = unpack(ARGV)
if not held(name, attempt) then return 0 end
if get(name, 'files') ~= files then leave(name, SETTLE) end
-- Another gateway, with another place, may have had the job meanwhile.
call('ZREM', P .. 'left:' .. at, files)
call('HSET', job(name), 'at', at, 'files', files)
return 1`,

  /** name place files */
  easelLeave: `${ALWAYS}
local name, at, files = unpack(ARGV)
if get(name, 'files') ~= files then add_left(at, files, 0) end`,

  /** place again most bound */
  easelLeftOver: `${ALWAYS}
local again, most, bound = unpack(ARGV, 2, 4)
local left, time = P .. 'left:' .. ARGV[1], now()
local given_up = call('ZREMRANGEBYRANK', left, 0, -1 - bound)
local all = call('ZRANGE', left, '-inf', int(time), 'BYSCORE', 'LIMIT', 0, most)
for _, files in ipairs(all) do call('ZADD', left, int(time + again), files) end
return {given_up, all}`,

  /** place */
  easelMeet: `${ALWAYS}
local last = call('GET', P .. 'results')
call('SET', P .. 'results', ARGV[1])
return last`,

  /** place files */
  easelDeleted: `${ALWAYS}
call('ZREM', P .. 'left:' .. ARGV[1], ARGV[2])`,

  /** name attempt halves; halves is empty if they are dropped */
  easelGiveBack: `${ALWAYS}
if held(ARGV[1], ARGV[2]) then back(ARGV[1], ARGV[3] ~= '') end`,

  /** name attempt status outcome */
  easelEnd: `${ALWAYS}
local status, attempt, outcome = get(ARGV[1], 'st', 'att', 'out')
if attempt ~= ARGV[2] then return 0 end
if status == 'running' then
  finish(ARGV[1], ARGV[3], ARGV[4])
  return 1
end
return (status == ARGV[3] and outcome == ARGV[4]) and 1 or 0`,

  /** name outcome */
  easelCancel: `${ALWAYS}
local status = get(ARGV[1], 'st')
if not status then return false end
if not ended(status) then finish(ARGV[1], 'cancelled', ARGV[2]) end
return state(ARGV[1])`,

  /** name */
  easelRemove: `${ALWAYS}
local status = get(ARGV[1], 'st')
if not status or not ended(status) then return 0 end
forget(ARGV[1])
return 1`,

  /** token lease busy(JSON) keep */
  easelTell: ALWAYS + HOOKS.tell("get(name, 'end') + keep - time"),

  /** name token again failures; again is empty for never */
  easelTold: ALWAYS + HOOKS.told,

  /** till name... */
  easelRetain: `${ALWAYS}
for index = 2, #ARGV do
  if call('ZSCORE', P .. 'ended', ARGV[index]) then
    call('HSET', job(ARGV[index]), 'till', ARGV[1])
    call('ZADD', P .. 'ended', ARGV[1], ARGV[index])
  end
end`,

  /** name window */
  easelCount: `${ALWAYS}
local key = P .. ARGV[1]
local current = call('INCR', key)
if current == 1 then call('PEXPIRE', key, ARGV[2]) end
return {current, call('PTTL', key)}`,

  /**
   * `take` lease scope name most, or `free` lease scope most, or `keep` or `leave` lease [scope name]...
   *
   * One script, because a client sends a script that the server does not have yet a second time: others would come first.
   */
  easelPlaces: `${ALWAYS}
local what, lease, scope = unpack(ARGV, 1, 3)
local time = now()
local function places(of) return P .. 'places:' .. of end
-- Places whose gateways are gone are left to the next that asks, or after some leases to nobody.
local function keep(of, name)
  call('ZADD', places(of), int(time + lease), name)
  call('PEXPIRE', places(of), int(lease * 20))
end
if what == 'keep' or what == 'leave' then
  for index = 3, #ARGV, 2 do
    if what == 'keep' then keep(ARGV[index], ARGV[index + 1])
    else call('ZREM', places(ARGV[index]), ARGV[index + 1]) end
  end
  return 1
end
local name, most = ARGV[4], tonumber(ARGV[#ARGV])
local seen, grace = unpack(call('MGET', P .. 'seen', P .. 'grace'))
-- As with jobs, no lease ends while nobody could renew it.
if time - tonumber(seen or '0') <= lease / 2 and time >= tonumber(grace or '0') then
  call('ZREMRANGEBYSCORE', places(scope), '-inf', int(time))
end
local mine = what == 'take' and call('ZSCORE', places(scope), name)
if not mine and call('ZCARD', places(scope)) >= most then return 0 end
if what == 'take' then keep(scope, name) end
return 1`,

  /** name fingerprint seed ttl */
  easelPin: `${UNLESS_FULL}
local key = P .. 'key:' .. ARGV[1]
if call('HSETNX', key, 'fp', ARGV[2]) == 1 then call('HSET', key, 'seed', ARGV[3]) end
call('PEXPIRE', key, ARGV[4])
return call('HMGET', key, 'fp', 'seed')`,

  /** lease keep crashes most crashed expired */
  easelTend: `${ALWAYS}
local lease, keep, crashes, most, crashed, expired = unpack(ARGV)
local time = now()
local seen = tonumber(call('GET', P .. 'seen') or '0')
-- Nobody could renew while the store was away or frozen, or no gateway was here: that is no gateway's fault.
if time - seen > lease / 2 then call('SET', P .. 'grace', int(time + lease)) end
call('SET', P .. 'seen', int(time))
for _, name in ipairs(call('ZRANGE', P .. 'deadline', '-inf', int(time), 'BYSCORE', 'LIMIT', 0, most)) do
  finish(name, 'expired', expired)
end
if time >= tonumber(call('GET', P .. 'grace') or '0') then
  for _, name in ipairs(call('ZRANGE', P .. 'running', '-inf', int(time), 'BYSCORE', 'LIMIT', 0, most)) do
    if call('HINCRBY', job(name), 'cr', 1) >= tonumber(crashes) then finish(name, 'failed', crashed)
    else back(name, false) end
  end
end
for _, name in ipairs(call('ZRANGE', P .. 'ended', '-inf', int(time - keep), 'BYSCORE', 'LIMIT', 0, most)) do
  forget(name)
end
local running = call('ZCARD', P .. 'running')
return {call('ZCARD', P .. 'deadline') - running, running, call('ZCARD', P .. 'ended'), call('GET', P .. 'bytes') or '0',
  call('SCARD', P .. 'hooked') + call('SCARD', P .. '${RECORD_HOOK}ed')}`
} as const
