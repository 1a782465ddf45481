import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import {
  OptionError,
  flagOf,
  help,
  HelpRequested,
  loadOptions,
  options,
  packageRoot,
  requireModels,
  VersionRequested
} from '../src/gateway-options.js'
import { tokenizerFolders } from '../src/model-folder.js'

describe('loadOptions', () => {
  it('prefers the flag to the variable to the default', () => {
    expect(loadOptions([], {}).port).toBe(8000)
    expect(loadOptions([], { PORT: '9000' }).port).toBe(9000)
    expect(loadOptions(['--port', '9001'], { PORT: '9000' }).port).toBe(9001)
    expect(loadOptions(['--port=9002'], {}).port).toBe(9002)
  })

  it('returns a frozen object and treats an empty variable as unset', () => {
    const loaded = loadOptions([], { PORT: '' })
    expect(loaded.port).toBe(8000)
    expect(Object.isFrozen(loaded)).toBe(true)
  })

  it.each(Object.entries(options))('accepts a value of %s that begins with a dash', (name, { env }) => {
    for (const value of ['-1', '--rows 8', '--port=x', '--help', '--']) {
      const outcome = (argv: string[], variables: NodeJS.ProcessEnv) => {
        try {
          return loadOptions(argv, { WORKER_ENDPOINT: 'ipc:///run/x', ...variables })
        } catch (error) {
          // The message is the same for flag and variable, except for the name at its beginning.
          return (error as Error).message.replace(/^\S+?(=|: )/, '')
        }
      }
      expect(outcome([`--${flagOf(name)}`, value], {})).toEqual(outcome([], { [env]: value }))
    }
  })

  it('accepts worker arguments as --help shows them', () => {
    expect(loadOptions(['--worker-args', '--fake-step-ms 200', '--port', '1'], {})).toMatchObject({
      workerArgs: ['--fake-step-ms', '200'],
      port: 1
    })
  })

  it('rejects a flag without a value', () => {
    expect(() => loadOptions(['--worker-args'], {})).toThrow(/--worker-args/)
  })

  it.each([
    [['--port', 'x'], {}, /--port="x": must be a whole number from 0 to 65535/],
    [[], { PORT: '70000' }, /PORT="70000"/],
    [[], { PORT: '1.5' }, /whole number/],
    [[], { WORKER: 'magic' }, /must be one of spawn, connect/],
    [['--prot', '1'], {}, /--prot.*--help/],
    [[], { WORKER: 'connect' }, /^WORKER_ENDPOINT: WORKER=connect needs it/],
    [[], { WORKER_ENDPOINT: 'http://x' }, /must be ipc/],
    [[], { WEBHOOK_HOSTS: 'a.example' }, /WEBHOOK_HOSTS needs WEBHOOK_SECRETS/],
    [
      [],
      { WEBHOOK_HOSTS: 'a.example', WEBHOOK_SECRETS: '@/run/secret', ACCESS_KEYS: 'keys.json' },
      /give webhook_hosts to the keys/
    ],
    [[], { WEBHOOK_HOSTS: 'a.example b/c' }, /WEBHOOK_HOSTS="a.example b\/c": host 2 must be/],
    [[], { WEBHOOK_SECRETS: 'whsec_c2hvcnQ=' }, /^WEBHOOK_SECRETS: secret 1 must be whsec_ and 24 to 64 bytes/],
    [[], { WEBHOOK_NETWORKS: '10.0.0.0' }, /WEBHOOK_NETWORKS="10.0.0.0": .* write it like 10.0.0.0\/8/],
    [[], { WORKER_ENDPOINT: 'ipc://@worker' }, /WORKER_ENDPOINT=ipc:\/\/@worker: an abstract socket has no owner/],
    [[], { WORKER_ENDPOINT: 'tcp://0.0.0.0:5555' }, /CURVE_SECRET_KEY and CURVE_WORKER_KEYS must be set/],
    [
      [],
      { WORKER_ENDPOINT: 'tcp://0.0.0.0:5555', CURVE_SECRET_KEY: 'x'.repeat(40) },
      /CURVE_SECRET_KEY and CURVE_WORKER_KEYS must be set/
    ],
    [[], { CURVE_WORKER_KEYS: 'keys' }, /^CURVE_WORKER_KEYS needs CURVE_SECRET_KEY/],
    [[], { CURVE_SECRET_KEY: '@' }, /or @FILE/],
    [
      [],
      { WORKER_ENDPOINT: 'tcp://127.0.0.1:*' },
      /WORKER_ENDPOINT=tcp:\/\/127.0.0.1:\*: must be ipc:\/\/PATH or tcp:\/\/HOST:PORT, with a port/
    ],
    [[], { WORKER_ENDPOINT: 'tcp://127.0.0.1:0' }, /a port from 1/],
    [[], { WORKER_ENDPOINT: 'tcp://127.0.0.1' }, /a port from 1/],
    [[], { WORKER_ENDPOINT: 'tcp://::1:5555' }, /in brackets/],
    [[], { WORKER_ENDPOINT: 'ipc://' }, /must be ipc/],
    [[], { WORKER_ENDPOINT: 'tcp://[::]:5555' }, /CURVE_SECRET_KEY and CURVE_WORKER_KEYS must be set/],
    [[], { CURVE_SECRET_KEY: 'short' }, /^CURVE_SECRET_KEY: .*40 characters/],
    [[], { HEARTBEAT_INTERVAL: '6' }, /at least twice/],
    [[], { DEFAULT_GUIDANCE_START: '0.5', DEFAULT_GUIDANCE_END: '0.4' }, /DEFAULT_GUIDANCE_START must be at most/]
  ])('rejects %j %j and says why', (argv, env, message) => {
    expect(() => loadOptions(argv, env)).toThrow(OptionError)
    expect(() => loadOptions(argv, env)).toThrow(message)
  })

  it('makes the path of the worker socket absolute, or picks a fresh one if none is given', () => {
    expect(loadOptions([], { WORKER_ENDPOINT: 'ipc://worker.sock' }).workerEndpoint).toBe(
      `ipc://${resolve('worker.sock')}`
    )
    const [first, second] = [loadOptions([], {}), loadOptions([], {})].map(({ workerEndpoint }) => workerEndpoint)
    expect(first).toMatch(/^ipc:\/\/\/.*\/easel-[0-9a-f]{12}\.sock$/)
    expect(second).not.toBe(first)
  })

  it('makes a path in PYTHON absolute and leaves a bare name to the PATH', () => {
    expect(loadOptions([], { PYTHON: 'venv/bin/python' }).python).toBe(resolve('venv/bin/python'))
    expect(loadOptions([], { PYTHON: 'python3.12' }).python).toBe('python3.12')
  })

  it('requires CURVE keys for tcp except on loopback', () => {
    expect(loadOptions([], { WORKER_ENDPOINT: 'tcp://127.0.0.1:5555' }).workerEndpoint).toBe('tcp://127.0.0.1:5555')
    const keys = { CURVE_SECRET_KEY: '@/run/keys/secret', CURVE_WORKER_KEYS: '/run/keys/workers' }
    expect(loadOptions([], { WORKER_ENDPOINT: 'tcp://0.0.0.0:5555', ...keys })).toMatchObject({
      curveSecretKey: keys.CURVE_SECRET_KEY,
      curveWorkerKeys: keys.CURVE_WORKER_KEYS
    })
  })
})

describe('MODEL', () => {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  mkdirSync(join(folder, 'cache/snapshots/0123/unet'), { recursive: true })
  for (const name of [
    'empty',
    'one',
    'own/tokenizer',
    'pickled',
    'refiner/tokenizer_2',
    'refiner/unet',
    'two',
    'whole/unet'
  ])
    mkdirSync(join(folder, name), { recursive: true })
  for (const file of [
    'all.ckpt',
    'cache/snapshots/0123/model_index.json',
    'one/int8_calibration.safetensors',
    'one/model_index.json',
    'one/x.safetensors',
    'own/x.safetensors',
    'pickled/all.ckpt',
    'two/a.safetensors',
    'two/b.safetensors',
    'two/notes.txt',
    'refiner/model_index.json',
    'refiner/tokenizer_2/vocab.json',
    'refiner/unet/model.safetensors',
    'whole/all.safetensors',
    'whole/model_index.json',
    'whole/other.safetensors',
    'whole/unet/diffusion_pytorch_model.fp16.safetensors'
  ])
    writeFileSync(join(folder, file), '')
  afterAll(() => rmSync(folder, { recursive: true }))

  const load = (env: NodeJS.ProcessEnv) => requireModels(loadOptions([], env))

  it.each([
    ['/no/such/folder', 'there is no such folder or file. MODEL must be a model folder'],
    ['/no/such/file.safetensors', 'there is no such folder or file'],
    ['owner/model', '`python -m easel_worker.fetch owner/model --to FOLDER`'],
    ['owner/model@main', '`python -m easel_worker.fetch owner/model@main --to FOLDER`'],
    ['https://huggingface.co/owner/model', 'write owner/model with `npm start`'],
    ['https://huggingface.co/owner/model/tree/fp16', 'write owner/model@fp16'],
    ['https://huggingface.co/owner/model/blob/main/x/all.safetensors', 'write owner/model/x/all.safetensors@main'],
    ['owner/model/all.safetensors', '`python -m easel_worker.fetch owner/model/all.safetensors --to FOLDER`'],
    ['gs://bucket/model', 'models are not loaded from URLs'],
    [join(folder, 'all.ckpt'), 'from_single_file'],
    [join(folder, 'pickled'), 'the folder holds all.ckpt, but only .safetensors files are loaded'],
    [join(folder, 'two'), 'the folder holds 2 single files; give one of them: a.safetensors, b.safetensors'],
    [join(folder, 'two/notes.txt'), 'this is not a model'],
    [join(folder, 'cache/snapshots/0123/model_index.json'), `give its folder, ${folder}/cache/snapshots/0123`],
    [join(folder, 'empty'), 'the folder has no model_index.json, so it is not a model'],
    [
      join(folder, 'cache'),
      `the folder has no model_index.json, but ${folder}/cache/snapshots/0123 has one; give that folder`
    ]
  ])('rejects %s and says why', (model, message) => {
    expect(() => load({ MODEL: model })).toThrow(OptionError)
    expect(() => load({ MODEL: model })).toThrow(/^MODEL=/)
    expect(() => load({ MODEL: model })).toThrow(message)
  })

  it.each([
    ['a single file', 'one/x.safetensors', undefined, undefined],
    ['a folder with one single file', 'one', undefined, undefined],
    ['a folder with a single file and a tokenizer', 'own', 'own/tokenizer', undefined],
    ['a diffusers folder that also has single files', 'whole', 'whole/tokenizer', 'whole/tokenizer_2']
  ])('may be %s, whose missing tokenizers are those of SDXL base', (_, model, first, second) => {
    expect(load({ MODEL: join(folder, model) }).models[0]!.path).toBe(join(folder, model))
    const base = join(packageRoot, 'models/sdxl-base-config')
    expect(tokenizerFolders(join(folder, model))).toEqual([
      first === undefined ? join(base, 'tokenizer') : join(folder, first),
      second === undefined ? join(base, 'tokenizer_2') : join(folder, second)
    ])
  })

  it("may be a folder with the second tokenizer only, as SDXL's refiner", () => {
    const second = join(folder, 'refiner/tokenizer_2')
    expect(tokenizerFolders(join(folder, 'refiner'))).toEqual([second, second])
  })

  it('may be a single file that only the worker has', () => {
    const connect = { WORKER: 'connect', WORKER_ENDPOINT: 'ipc:///run/x' }
    expect(load({ ...connect, MODEL: '/models/x.safetensors' }).models[0]!.path).toBe('/models/x.safetensors')
  })

  it('passes VAE, UNET and REFINER to the workers, as absolute paths', () => {
    const parts = { VAE: 'vae', UNET: '/unet.safetensors', REFINER: '/refiner' }
    const [model] = loadOptions([], { MODEL: '/m', ...parts }).models
    expect(model!.args).toEqual(['--vae', resolve('vae'), '--unet', '/unet.safetensors', '--refiner', '/refiner'])
    expect(() => loadOptions([], { MODELS: 'a=/a,b=/b', VAE: 'vae' })).toThrow(/in the "args" of the model/)
  })

  it('may lack model_index.json if the gateway starts no worker that reads it', () => {
    const model = join(folder, 'empty')
    expect(() => load({ MODEL: model, ENGINE: 'maxdiffusion' })).toThrow('the folder has no model_index.json')
    expect(load({ MODEL: model, ENGINE: 'fake' }).models[0]!.path).toBe(model)
    expect(load({ MODEL: model, WORKER: 'connect', WORKER_ENDPOINT: 'ipc:///run/x' }).models[0]!.path).toBe(model)
  })

  it('may be missing for loadOptions, as when it reads a manifest', () => {
    expect(loadOptions([], { MODEL: '/models/elsewhere' }).models[0]!.path).toBe('/models/elsewhere')
  })
})

describe('MODELS', () => {
  const folder = mkdtempSync(join(tmpdir(), 'easel-test-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const plain = { device: undefined, workers: undefined, args: [], env: {} }

  /** The models of a file with this content. */
  function modelsIn(content: unknown) {
    const file = join(folder, 'models.json')
    writeFileSync(file, JSON.stringify(content))
    return loadOptions([], { MODELS: file }).models
  }

  it('is a list of names and folders, the default one first', () => {
    expect(loadOptions([], { MODELS: 'base=/models/base, org/turbo=turbo=2' }).models).toEqual([
      { ...plain, name: 'base', path: '/models/base' },
      { ...plain, name: 'org/turbo', path: resolve('turbo=2') }
    ])
    expect(loadOptions([], {}).models).toMatchObject([{ name: undefined }])
  })

  it('is a JSON file, whose folders are relative to it', () => {
    const all = {
      name: 'b',
      path: 'b',
      device: 'chip',
      workers: 2,
      args: ['--rows', '4'],
      env: { TPU_VISIBLE_CHIPS: '1' }
    }
    expect(modelsIn([{ name: 'a', path: '/a' }, all])).toEqual([
      { ...plain, name: 'a', path: '/a' },
      { ...all, path: join(folder, 'b') }
    ])
  })

  it.each([
    [[], 'must name at least one model'],
    [{ name: 'a' }, 'a JSON file with a list'],
    [['a'], 'entry 1 must be an object with "name" and "path"'],
    [[{ name: 'a b', path: 'x' }], 'entry 1: "name" is "a b"; it must be 1 to 128 characters'],
    [[{ name: 'a' }], `entry 1: "path" is undefined; it must be a model folder`],
    [[{ name: 'a', path: 'x', sizes: '64x64' }], 'entry 1: unknown key "sizes"; known are name, path, device'],
    [[{ name: 'a', path: 'x', workers: 0 }], 'entry 1: "workers" is 0; it must be a whole number from 1 to 64'],
    [[{ name: 'a', path: 'x', args: '--rows 4' }], 'entry 1: "args" is "--rows 4"; it must be a list of texts'],
    [[{ name: 'a', path: 'x', env: { A: 1 } }], 'entry 1: "env" is {"A":1}; it must be an object of texts'],
    [[{ name: 'a', path: 'x', device: 1 }], 'entry 1: "device" is 1; it must be a name'],
    [[...'aba'].map((name) => ({ name, path: name })), 'names the model a twice']
  ])('rejects the file %j and says why', (content, message) => {
    expect(() => modelsIn(content)).toThrow(OptionError)
    expect(() => modelsIn(content)).toThrow(message)
  })

  it('names what is wrong outside the file too', () => {
    const load = (env: NodeJS.ProcessEnv) => requireModels(loadOptions([], env))
    expect(() => load({ MODELS: '/no/such.json' })).toThrow('MODELS="/no/such.json": there is no such file')
    expect(() => load({ MODELS: 'a=/a', MODEL: '/b' })).toThrow('give MODEL or MODELS, not both')
    expect(() => load({ MODELS: 'a=/no/such' })).toThrow('MODELS: a=/no/such: there is no such folder or file')
    writeFileSync(join(folder, 'shared.json'), JSON.stringify([{ name: 'a', path: 'x', device: 'chip' }]))
    const connect = { WORKER: 'connect', WORKER_ENDPOINT: 'ipc:///run/x', MODELS: join(folder, 'shared.json') }
    expect(() => load(connect)).toThrow('MODELS: a has a "device", but only workers that the gateway starts')
  })
})

describe('--help', () => {
  it('lists every option with its flag and variable', () => {
    expect(() => loadOptions(['--help'], {})).toThrow(HelpRequested)
    for (const [name, { env, doc }] of Object.entries(options)) {
      expect(help()).toContain(`--${flagOf(name)} <`)
      expect(help()).toContain(`      ${env}`)
      expect(help()).toContain(doc)
    }
  })

  it('leaves the version to the program', () => {
    expect(() => loadOptions(['--version'], {})).toThrow(VersionRequested)
    expect(help()).toContain('--version\n')
  })

  it('has a different variable for each option', () => {
    const names = Object.values(options).map(({ env }) => env)
    expect(new Set(names).size).toBe(names.length)
  })
})
