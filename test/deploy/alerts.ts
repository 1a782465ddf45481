/** When an alert is to fire, and when not: series as promtool writes them, one value a minute from 0. */
export interface AlertCase {
  alert: string
  /** Labels of the alert beside its severity. */
  labels: Record<string, string>
  summary: string
  fires: Record<string, string>
  quiet: Record<string, string>
  alsoQuiet?: Record<string, string>[]
}

const POD = 'namespace="easel",pod="easel-0"'
const pod = { namespace: 'easel', pod: 'easel-0' }

/** Minutes at which the alerts are looked at: past every `for`, and past the hour that a first start may take. */
export const AT_MINUTES = 90

export const alertCases: AlertCase[] = [
  {
    alert: 'EaselDown',
    labels: { ...pod, job: 'easel' },
    summary: 'The gateway of easel-0 does not answer',
    fires: { [`up{job="easel",${POD}}`]: '1x80 0x20' },
    // One scrape that fails is none.
    quiet: { [`up{job="easel",${POD}}`]: '1x88 0 1x10', 'up{job="other",namespace="easel",pod="other-0"}': '0x100' }
  },
  {
    alert: 'EaselAbsent',
    labels: { job: 'easel' },
    summary: 'No gateway is running',
    fires: { [`up{job="easel",${POD}}`]: '1x60 _x40', 'up{job="other",namespace="easel",pod="other-0"}': '1x100' },
    // A Pod that is there and does not answer is EaselDown's; one that is replaced is away for a moment.
    quiet: { [`up{job="easel",${POD}}`]: '0x80', 'up{job="easel",namespace="easel",pod="easel-1"}': '_x85 1x20' }
  },
  {
    alert: 'EaselRefusing',
    labels: { namespace: 'easel' },
    summary: '95% of requests are refused',
    fires: {
      ...refused({ NOT_READY: '0+10x100', QUEUE_FULL: '0+9x100' }),
      [`easel_requests_accepted_total{${POD}}`]: '0+1x100'
    },
    // A full queue that still takes some, callers without a key, and a handful while nobody else asks.
    quiet: {
      ...refused({ QUEUE_FULL: '0+4x100', UNAUTHORIZED: '0+90x100', INVALID_REQUEST: '0+90x100' }),
      [`easel_requests_accepted_total{${POD}}`]: '0+1x100'
    },
    alsoQuiet: [
      { ...refused({ NOT_READY: '0x85 1 2 3 4 5 6 7 8 8x100' }), [`easel_requests_accepted_total{${POD}}`]: '0x100' }
    ]
  },
  {
    alert: 'EaselNoWorker',
    labels: pod,
    summary: 'easel-0 has no worker',
    fires: { [`easel_workers_ready{${POD}}`]: '0x100', [`process_start_time_seconds{${POD}}`]: '0x100' },
    // It may still be compiling for the first time.
    quiet: { [`easel_workers_ready{${POD}}`]: '0x100', [`process_start_time_seconds{${POD}}`]: '2400x100' }
  },
  {
    alert: 'EaselModelWithoutWorker',
    labels: { ...pod, model: 'turbo' },
    summary: 'easel-0 has no worker for turbo',
    fires: { ...modelsReady({ base: '1x100', turbo: '1x30 0x70' }), [`easel_workers_ready{${POD}}`]: '1x100' },
    // No worker at all is EaselNoWorker's, and a model that takes turns has none while it waits.
    quiet: { ...modelsReady({ base: '0x100', turbo: '0x100' }), [`easel_workers_ready{${POD}}`]: '0x100' },
    alsoQuiet: [
      {
        ...modelsReady({ base: '1x100', turbo: '0x100' }),
        [`easel_workers_ready{${POD}}`]: '1x100',
        [`easel_model_swap_seconds{model="turbo",${POD}}`]: '40x100'
      }
    ]
  },
  {
    alert: 'EaselRequestsFailing',
    labels: { namespace: 'easel' },
    summary: '5% of requests fail',
    fires: {
      [`easel_requests_total{outcome="failed",${POD}}`]: '0+1x100',
      [`easel_requests_total{outcome="succeeded",${POD}}`]: '0+19x100'
    },
    quiet: {
      [`easel_requests_total{outcome="failed",${POD}}`]: '0+1x100',
      [`easel_requests_total{outcome="succeeded",${POD}}`]: '0+99x100'
    }
  },
  {
    alert: 'EaselRequestsExpiring',
    labels: { namespace: 'easel' },
    summary: '10% of requests miss their deadline',
    fires: {
      [`easel_requests_total{outcome="expired",${POD}}`]: '0+1x100',
      [`easel_requests_total{outcome="succeeded",${POD}}`]: '0+9x100'
    },
    quiet: {
      [`easel_requests_total{outcome="expired",${POD}}`]: '0+1x100',
      [`easel_requests_total{outcome="succeeded",${POD}}`]: '0+49x100'
    }
  },
  {
    alert: 'EaselMemoryFull',
    labels: pod,
    summary: 'easel-0 has no memory for more images',
    fires: memory({ pixels: 40, files: 30, answers: 25, replays: 0 }),
    // What is kept for retries has room of its own.
    quiet: memory({ pixels: 40, files: 30, answers: 10, replays: 40 })
  },
  {
    alert: 'EaselQueueFull',
    labels: pod,
    summary: 'easel-0 is about to refuse requests',
    fires: { [`easel_requests_in_flight{${POD}}`]: '60x100', [`easel_queue_limit{${POD}}`]: '64x100' },
    quiet: { [`easel_requests_in_flight{${POD}}`]: '32x100', [`easel_queue_limit{${POD}}`]: '64x100' }
  },
  {
    alert: 'EaselQueueSlow',
    labels: { namespace: 'easel' },
    summary: 'Requests wait 58.5s for a worker',
    fires: buckets({ 30: '0x100', 60: '0+10x100', '+Inf': '0+10x100' }),
    quiet: buckets({ 10: '0+10x100', 30: '0+10x100', '+Inf': '0+10x100' })
  },
  {
    alert: 'EaselWorkersDying',
    labels: { namespace: 'easel', cause: 'exited' },
    summary: 'Workers are lost repeatedly (exited)',
    fires: { [`easel_workers_lost_total{worker="a",cause="exited",${POD}}`]: '0+1x100' },
    // A worker that was told to go, and two deaths in an hour and a half.
    quiet: {
      [`easel_workers_lost_total{worker="a",cause="left",${POD}}`]: '0+1x100',
      [`easel_workers_lost_total{worker="a",cause="exited",${POD}}`]: '0x70 1x10 2x20'
    }
  },
  {
    alert: 'EaselWireGarbage',
    labels: { namespace: 'easel', reason: 'kind' },
    summary: 'Malformed messages on the worker socket (kind)',
    fires: { [`easel_malformed_messages_total{reason="kind",${POD}}`]: '0x80 1x20' },
    quiet: { [`easel_malformed_messages_total{reason="kind",${POD}}`]: '7x100' }
  },
  {
    alert: 'EaselDeviceMemoryLow',
    labels: { ...pod, worker: 'a', device: '3' },
    summary: 'Device 3 of easel-0 has 98% of its memory in use',
    fires: {
      [`easel_device_memory_bytes{worker="a",device="3",${POD}}`]: '98x100',
      [`easel_device_memory_limit_bytes{worker="a",device="3",${POD}}`]: '100x100'
    },
    // A backend that does not tell its limit.
    quiet: {
      [`easel_device_memory_bytes{worker="a",device="3",${POD}}`]: '50x100',
      [`easel_device_memory_limit_bytes{worker="a",device="3",${POD}}`]: '100x100',
      [`easel_device_memory_bytes{worker="b",device="0",${POD}}`]: '50x100'
    }
  },
  {
    alert: 'EaselResultsFailing',
    labels: { namespace: 'easel' },
    summary: '50% of images cannot be stored',
    fires: {
      [`easel_results_total{outcome="failed",${POD}}`]: '0+1x100',
      [`easel_results_total{outcome="stored",${POD}}`]: '0+1x100'
    },
    // One that failed an hour ago, and a server that stores nothing.
    quiet: {
      [`easel_results_total{outcome="failed",${POD}}`]: '0x20 1x80',
      [`easel_results_total{outcome="stored",${POD}}`]: '0+1x100'
    },
    alsoQuiet: [{ [`up{job="easel",${POD}}`]: '1x100' }]
  },
  {
    alert: 'EaselWebhooksFailing',
    labels: { namespace: 'easel' },
    summary: '75% of attempts to send webhooks fail',
    fires: {
      [`easel_webhooks_total{outcome="delivered",${POD}}`]: '0+1x100',
      [`easel_webhooks_total{outcome="retried",${POD}}`]: '0+2x100',
      [`easel_webhooks_total{outcome="given_up",${POD}}`]: '0+1x100'
    },
    // One receiver of many, and a handful where nobody else has one.
    quiet: {
      [`easel_webhooks_total{outcome="delivered",${POD}}`]: '0+4x100',
      [`easel_webhooks_total{outcome="retried",${POD}}`]: '0+2x100',
      [`easel_webhooks_total{outcome="given_up",${POD}}`]: '0x100'
    },
    alsoQuiet: [
      {
        [`easel_webhooks_total{outcome="delivered",${POD}}`]: '0x100',
        [`easel_webhooks_total{outcome="retried",${POD}}`]: '0x60 1 2 3 4 5 6 7 7x100',
        [`easel_webhooks_total{outcome="given_up",${POD}}`]: '0x100'
      }
    ]
  },
  {
    alert: 'EaselEventLoopSlow',
    labels: pod,
    summary: 'The gateway of easel-0 lags by 500ms',
    fires: { [`nodejs_eventloop_lag_p99_seconds{${POD}}`]: '0.5x100' },
    quiet: { [`nodejs_eventloop_lag_p99_seconds{${POD}}`]: '0.02x100' }
  },
  {
    alert: 'EaselLawBroken',
    labels: pod,
    summary: 'The request counts of easel-0 do not add up',
    fires: law('0+10x100', '0+9x100'),
    quiet: law('0+10x100', '0+10x100')
  }
]

function buckets(byBound: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(byBound).map(([le, values]) => [`easel_queue_wait_seconds_bucket{le="${le}",${POD}}`, values])
  )
}

/** Requests accepted, against those that succeeded; two more are always in flight. */
function law(accepted: string, succeeded: string): Record<string, string> {
  return {
    [`easel_requests_accepted_total{${POD}}`]: accepted.replace('0+', '2+'),
    [`easel_requests_total{outcome="succeeded",${POD}}`]: succeeded,
    [`easel_requests_total{outcome="failed",${POD}}`]: '0x100',
    [`easel_requests_in_flight{${POD}}`]: '2x100'
  }
}

/** Series of the ready workers of each model, in a Pod that has been up long enough. */
function modelsReady(models: Record<string, string>): Record<string, string> {
  const series = Object.entries(models).map(([model, values]) => [
    `easel_model_workers_ready{model="${model}",${POD}}`,
    values
  ])
  return { ...Object.fromEntries(series), [`process_start_time_seconds{${POD}}`]: '0x100' }
}

function refused(byCode: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(byCode).map(([code, values]) => [`easel_requests_refused_total{code="${code}",${POD}}`, values])
  )
}

function memory(used: Record<string, number>): Record<string, string> {
  const parts = Object.entries(used).flatMap(([part, bytes]) => [
    [`easel_memory_bytes{part="${part}",${POD}}`, `${bytes}x100`],
    [`easel_memory_limit_bytes{part="${part}",${POD}}`, part === 'replays' ? '40x100' : '100x100']
  ])
  return Object.fromEntries(parts) as Record<string, string>
}
