import type { Files, GenerateRequest, Health, Prompts } from '../api/types.js'
import { byId, el } from '../lib/dom.js'
import { Emitter } from '../lib/events.js'
import { randomSeed } from '../lib/random.js'
import { recall, remember } from '../lib/remember.js'
import { type Numbers, type Settings, sizeName, sizeOfName, toRequest } from '../model/settings.js'
import { type ConditionList, PARTS } from '../model/conditions.js'
import { nearestSize, type Start, varyStrength } from '../model/start.js'
import type { WeightSyntax } from '../model/weights.js'
import { ConditionField } from './condition-field.js'
import { joinDials, showDials } from './dial.js'
import { FieldErrors } from './field-errors.js'
import { HiresField } from './hires-field.js'
import { Loras } from './loras.js'
import { ModelPicker } from './model-picker.js'
import { Sizes } from './sizes.js'
import { StartField } from './start-field.js'
import { startWeightButtons, startWeightKeys } from './weight-keys.js'

const NAME = 'easel.form'

type Field = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement

/** Fields that show the model's defaults. */
const DEFAULTED = ['num_inference_steps', 'guidance_scale', 'negative_prompt', 'prompt_syntax'] as const

/** Fields that decide how many tokens the prompts have. */
const COUNTED = ['prompt', 'negative_prompt', 'prompt_2', 'negative_prompt_2', 'prompt_syntax', 'model'] as const

/** Fields whose errors go when another field changes, because they are checked together. */
const CHECKED_WITH: Readonly<Record<string, readonly string[]>> = {
  guidance_start: ['guidance_end'],
  guidance_end: ['guidance_start'],
  hires_strength: ['hires'],
  hires_steps: ['hires'],
  hires_upscaler: ['hires'],
  num_inference_steps: ['hires']
}

interface Events {
  /** The request is complete. */
  submit: undefined
  /** Number of invalid fields, now marked. */
  wrong: number
  /** Another model was chosen, whose offer the form needs. */
  model: string | undefined
  /** The prompts, or how they are read, have changed. */
  prompts: Prompts
  /** The syntax was changed to one with weights, as a weight was given. */
  syntax: WeightSyntax
}

/** The form with the request's settings. Restores its values after a reload. */
export class Form extends Emitter<Events> {
  readonly #form = byId('form', HTMLFormElement)
  readonly #sizes = new Sizes()
  readonly #models = new ModelPicker()
  readonly loras = new Loras()
  readonly start = new StartField(() => sizeOfName(this.#sizes.value))
  readonly errors = new FieldErrors(this.#form)
  readonly conditions: Readonly<Record<ConditionList, ConditionField>> = {
    controls: new ConditionField('controls'),
    ip_adapters: new ConditionField('ip_adapters')
  }
  readonly #hires = new HiresField()
  #defaults: Health['defaults'] = null
  #presets: Health['presets'] = []
  #offered: Health['sizes'] = []
  /** Fields that an empty value or the first option would not show to be untouched: they await the server's default. */
  readonly #awaiting = new Set<string>(['negative_prompt', 'prompt_syntax'])
  /** Whether the chosen model applies weights in prompts. */
  #weighs = false
  #counted = ''

  constructor() {
    super()
    joinDials(this.#form)
    this.#form.addEventListener('submit', (event) => {
      event.preventDefault()
      this.submit()
    })
    this.#form.addEventListener('input', ({ target }) => this.#changed([(target as Field).name]))
    byId('model', HTMLSelectElement).addEventListener('change', () => this.emit('model', this.model))
    byId('preset', HTMLSelectElement).addEventListener('change', ({ target }) =>
      this.#fill((target as HTMLSelectElement).value)
    )
    this.loras
      .on('change', () => this.#changed(['loras']))
      .on('word', (word) => this.#addToPrompt(word))
      .on('preset', (preset) => this.#prefer(preset))
    this.start
      .on('change', () => this.#changed(['image', 'mask_image']))
      .on('taken', ({ start, asked }) => {
        if (!asked) this.#fit(start)
      })
      .on('masked', (masked) => this.#suit(masked))
      .on('problem', (words) => this.errors.show('image', words))
    for (const [list, field] of this.#lists)
      field.on('change', () => this.#changed([list])).on('problem', (words) => this.errors.show(list, words))
    byId('dice', HTMLButtonElement).addEventListener('click', () => this.write({ seed: randomSeed() }))
    byId('fewer', HTMLButtonElement).addEventListener('click', () => this.#count(-1))
    byId('more', HTMLButtonElement).addEventListener('click', () => this.#count(1))
    for (const name of ['prompt', 'negative_prompt'])
      startWeightKeys(this.#field(name) as HTMLTextAreaElement, () => this.#weightSyntax())
    startWeightButtons(this.#form.querySelectorAll('button[data-weigh]'), () => this.#weightSyntax())
    this.write(recall<Settings>(NAME) ?? {})
  }

  get settings(): Settings {
    return {
      prompt: this.#field('prompt').value,
      negative_prompt: this.#awaiting.has('negative_prompt') ? undefined : this.#field('negative_prompt').value,
      prompt_2: this.#field('prompt_2').value,
      negative_prompt_2: this.#field('negative_prompt_2').value,
      prompt_syntax: this.#syntax,
      model: this.#models.value,
      loras: this.loras.value,
      size: this.#sizes.value,
      hires: this.#field('hires').value,
      hires_upscaler: this.#field('hires_upscaler').value as Settings['hires_upscaler'],
      ...this.#numbers(),
      preset: this.#field('preset').value,
      scheduler: this.#field('scheduler').value,
      timestep_spacing: this.#field('timestep_spacing').value as Settings['timestep_spacing'],
      resize_mode: this.#field('resize_mode').value as Settings['resize_mode'],
      output_format: this.#field('output_format').value as 'png',
      previews: (this.#field('previews') as HTMLInputElement).checked,
      truncate: (this.#field('truncate') as HTMLInputElement).checked
    }
  }

  /** The request for the settings, without its files. */
  get request(): GenerateRequest {
    return this.requestWith(this.start.files)
  }

  /** The request as it were with these files to start from. */
  requestWith(files: Parameters<typeof toRequest>[2]): GenerateRequest {
    const conditions = this.#lists.flatMap(([list, { value }]) => (value.length === 0 ? [] : [[list, value]]))
    const { settings } = this
    // The server leaves a preset's spacing out for samplers that take none.
    if (settings.timestep_spacing === this.#presets.find(({ name }) => name === settings.preset)?.timestep_spacing)
      settings.timestep_spacing = ''
    return { ...toRequest(settings, this.steps, files), ...Object.fromEntries(conditions) }
  }

  /** The files of the request. */
  get files(): Files {
    const pictures = this.#lists.flatMap(([list, { files }]) => (files.length === 0 ? [] : [[PARTS[list], files]]))
    return { ...this.start.files, ...Object.fromEntries(pictures) }
  }

  get #lists(): [ConditionList, ConditionField][] {
    return Object.entries(this.conditions) as [ConditionList, ConditionField][]
  }

  /** The chosen model; undefined for the server's only one. */
  get model(): string | undefined {
    return this.#models.value
  }

  /** Number of steps, or a guess until the server's default is known. */
  get steps(): number {
    return this.#number('num_inference_steps') ?? this.#defaults?.num_inference_steps ?? 25
  }

  submit(): void {
    const wrong = this.errors.check()
    if (wrong === 0) this.emit('submit', undefined)
    else this.emit('wrong', wrong)
  }

  write(settings: Partial<Settings>): void {
    // First, since choosing a model replaces values that are the defaults of another.
    if (settings.model !== undefined) this.#chooseModel(settings.model)
    for (const [name, value] of Object.entries(settings)) {
      if (name === 'model') continue
      if (name === 'size') {
        this.#sizes.value = String(value)
        continue
      }
      if (name === 'hires') {
        this.#hires.value = String(value)
        continue
      }
      if (name === 'loras') {
        this.loras.value = value as Settings['loras']
        continue
      }
      const field = this.#form.elements.namedItem(name) as Field | null
      if (field === null) continue
      if (field instanceof HTMLInputElement && field.type === 'checkbox') field.checked = value === true
      else if (field instanceof HTMLSelectElement) choose(field, String(value))
      else field.value = String(value ?? '')
    }
    showDials(this.#form)
    this.#changed(Object.keys(settings))
  }

  #chooseModel(name: string): void {
    const before = this.model
    this.#models.value = name
    if (this.model !== before) this.emit('model', this.model)
  }

  /** Unfolds the section that contains a field. */
  reveal(name: string): void {
    const details = this.#field(name).closest('details')
    if (details !== null) details.open = true
  }

  offerModels(health: Health): void {
    this.#models.offer(health)
  }

  /** Offers what the chosen model supports, keeping the visitor's choices. */
  adopt(health: Health): void {
    const { sizes, coming, schedulers, presets, features, max_chunks, coming_max_chunks, defaults, limits } = health
    const before = this.#defaults
    // A model that is not ready has none yet.
    this.#defaults = defaults ?? before
    this.#sizes.offer(sizes, coming, [defaults?.width ?? 0, defaults?.height ?? 0])
    if (schedulers.length > 0) offerOptions(this.#field('scheduler') as HTMLSelectElement, schedulers)
    this.loras.supported = features.includes('loras')
    this.start.adopt(health)
    const most = { controls: health.max_controls ?? 1, ip_adapters: 1 }
    for (const [list, field] of this.#lists)
      field.adopt({ most: features.includes(list) ? most[list] : 0, limits: health.pictures })
    this.#hires.adopt(health)
    this.#refresh()
    this.#offered = sizes
    for (const [name, most] of Object.entries(limits ?? {}))
      if (this.#has(name)) (this.#field(name) as HTMLInputElement).max = String(most)
    if (defaults !== null) {
      for (const name of DEFAULTED) {
        const field = this.#field(name)
        const empty = field.value === '' && name !== 'negative_prompt'
        if (empty || this.#awaiting.has(name) || field.value === String(before?.[name]))
          field.value = String(defaults[name] ?? '')
      }
      this.#awaiting.clear()
      this.#offerPresets(presets)
      this.#offerRefinements(features, defaults)
    }
    showDials(this.#form)
    const counted = JSON.stringify([features, max_chunks, coming_max_chunks, defaults, this.model])
    if (counted !== this.#counted) this.#emitPrompts()
    this.#counted = counted
  }

  /** Forgets a chosen preset that the model does not offer; the values that it set stay in their fields. */
  #offerPresets(presets: Health['presets']): void {
    this.#presets = presets
    const names = presets.map(({ name }) => name)
    const select = this.#field('preset') as HTMLSelectElement
    if (!names.includes(select.value)) select.value = ''
    offerOptions(select, names)
    byId('preset-field', HTMLDivElement).hidden = names.length === 0
  }

  /** Chooses a preset for the visitor, and shows where it is. */
  #prefer(preset: string): void {
    this.write({ preset })
    this.#fill(preset)
    this.reveal('preset')
    this.#field('preset').focus()
  }

  /** Shows what a preset sets, in the fields that the form has for it; without one, the model's defaults. */
  #fill(name: string): void {
    const { num_inference_steps, guidance_scale } = this.#defaults ?? {}
    const preset = this.#presets.find((each) => each.name === name)
    this.write({
      num_inference_steps: preset?.num_inference_steps ?? num_inference_steps,
      guidance_scale: preset?.guidance_scale ?? guidance_scale,
      scheduler: preset?.scheduler ?? '',
      timestep_spacing: preset?.timestep_spacing ?? '',
      eta: preset?.eta
    })
  }

  /** The parameters that only some servers support. */
  get refinements(): (keyof Numbers)[] {
    return this.#refinements().map(({ name }) => name as keyof Numbers)
  }

  /** Shows the fields that this server supports. Keeps a filled one visible, so that the visitor can clear it. */
  #offerRefinements(features: readonly string[], defaults: Record<string, unknown>): void {
    for (const place of this.#form.querySelectorAll<HTMLElement>('[data-optional]')) {
      const field = place.querySelector<Field>('input, textarea, select')!
      const { feature, option } = place.dataset
      const supported =
        feature !== undefined
          ? features.includes(feature)
          : option !== undefined
            ? defaults[option] !== undefined
            : field instanceof HTMLInputElement && Number(field.max) > Number(field.min)
      field.dataset['preset'] = String(defaults[field.name])
      // A choice among options is no loss; what was written stays, for the visitor to clear.
      if (!supported && field instanceof HTMLSelectElement) field.selectedIndex = 0
      place.hidden = !supported && (field instanceof HTMLSelectElement || field.value === '')
    }
    this.#weighs = features.includes('prompt_weights') && defaults['prompt_syntax'] !== undefined
    for (const place of this.#form.querySelectorAll<HTMLElement>('.weigh')) place.hidden = !this.#weighs
  }

  /** Undefined if the server knows only plain prompts. */
  get #syntax(): Settings['prompt_syntax'] {
    return this.#defaults?.prompt_syntax === undefined
      ? undefined
      : (this.#field('prompt_syntax').value as Settings['prompt_syntax'])
  }

  /** The syntax for weights, chosen now if it was none; undefined if the model applies none. */
  #weightSyntax(): WeightSyntax | undefined {
    if (!this.#weighs) return undefined
    const syntax = this.#syntax
    if (syntax === 'compel' || syntax === 'a1111') return syntax
    this.write({ prompt_syntax: 'a1111' })
    this.emit('syntax', 'a1111')
    return 'a1111'
  }

  /** Chooses the size that is most like the picture, and a strength if there is none. */
  #fit(start: Start): void {
    const [width, height] = nearestSize(start, this.#offered) ?? []
    if (width !== undefined && height !== undefined) this.#sizes.value = sizeName(width, height)
    this.write({ strength: this.#number('strength') ?? varyStrength(this.steps) })
  }

  /** With a mask, by default all of the masked part is made anew. */
  #suit(masked: boolean): void {
    const usual = varyStrength(this.steps)
    if (this.#number('strength') === (masked ? usual : 1)) this.write({ strength: masked ? 1 : usual })
  }

  #addToPrompt(word: string): void {
    const prompt = this.#field('prompt').value.trimEnd()
    this.write({ prompt: prompt === '' ? word : `${prompt.replace(/,$/, '')}, ${word}` })
    this.#field('prompt').focus()
  }

  #emitPrompts(): void {
    if (this.#defaults === null) return
    const texts = ['prompt', 'negative_prompt', 'prompt_2', 'negative_prompt_2'].map((name) => [
      name,
      this.#field(name).value
    ])
    this.emit('prompts', {
      ...(Object.fromEntries(texts.filter(([, text]) => text !== '')) as Prompts),
      ...(this.#syntax === undefined ? {} : { prompt_syntax: this.#syntax }),
      ...(this.model === undefined ? {} : { model: this.model })
    })
  }

  #refinements(): HTMLInputElement[] {
    return [...this.#form.querySelectorAll<HTMLInputElement>('[data-optional] input')]
  }

  #changed(names: readonly string[]): void {
    for (const name of names) this.#awaiting.delete(name)
    if (names.some((name) => (COUNTED as readonly string[]).includes(name))) this.#emitPrompts()
    if (names.includes('size')) this.conditions.controls.forgetDrawn()
    this.errors.clear(names.flatMap((name) => [name, ...(CHECKED_WITH[name] ?? [])]))
    this.#refresh()
    byId('quality-field', HTMLDivElement).hidden = this.#field('output_format').value === 'png'
    remember(NAME, {
      ...this.settings,
      prompt_syntax: this.#awaiting.has('prompt_syntax') ? undefined : this.#field('prompt_syntax').value,
      model: this.#models.wanted,
      size: this.#sizes.wanted
    })
  }

  /** Shows what follows from the values of the fields. */
  #refresh(): void {
    const { steps } = this
    this.start.refresh(steps, this.#number('strength'))
    const [hires_strength, hires_steps] = [this.#number('hires_strength'), this.#number('hires_steps')]
    this.#hires.refresh(steps, { hires_strength, hires_steps }, this.start.value !== undefined)
  }

  #count(by: number): void {
    const field = this.#field('num_images') as HTMLInputElement
    const next = (this.#number('num_images') ?? 1) + by
    this.write({ num_images: Math.min(Math.max(next, 1), Number(field.max)) })
  }

  #field(name: string): Field {
    return this.#form.elements.namedItem(name) as Field
  }

  #has(name: string): boolean {
    return this.#form.elements.namedItem(name) !== null
  }

  #numbers(): Numbers {
    const fields = this.#form.querySelectorAll<HTMLInputElement>('input[type=number][name]')
    return Object.fromEntries([...fields].map(({ name }) => [name, this.#number(name)]))
  }

  #number(name: string): number | undefined {
    const { value } = this.#field(name)
    return value === '' ? undefined : Number(value)
  }
}

/** Selects an option, adding it marked as missing if it is not offered (yet). */
function choose(select: HTMLSelectElement, value: string): void {
  if (![...select.options].some((option) => option.value === value))
    select.append(el('option', { value, dataset: { missing: '' } }, value))
  select.value = value
}

/** Offers `names` after the default option. Keeps the selected option even if not offered, and marks it as missing. */
function offerOptions(select: HTMLSelectElement, names: readonly string[]): void {
  const known = new Set([...select.options].map(({ value }) => value))
  for (const name of names) if (!known.has(name)) select.append(el('option', { value: name }, name))
  for (const option of [...select.options].slice(1)) {
    if (names.includes(option.value)) delete option.dataset['missing']
    else if (option.selected) option.dataset['missing'] = ''
    else option.remove()
  }
}
