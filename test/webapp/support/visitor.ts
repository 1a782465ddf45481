import { readFile } from 'node:fs/promises'
import { type Browser, type BrowserContext, chromium, type Locator, type Page } from 'playwright-core'
import { afterAll, beforeAll, onTestFinished } from 'vitest'
import { browser as browserPath } from '../../../tools/browser.mjs'
import { until } from '../../support/wait.js'

type ContextOptions = NonNullable<Parameters<Browser['newContext']>[0]>

/** The browser's own report of an error answer, which the page handles. */
const REPORTED_ANSWER = /Failed to load resource/

/** Starts a browser for the tests of a file. @returns a function that opens a page as a new visitor */
export function useBrowser(): (url: string, options?: ContextOptions) => Promise<Visitor> {
  let browser: Browser | undefined
  beforeAll(async () => {
    // Chromium's sandbox does not work as root. Software rendering is the same everywhere.
    browser = await chromium.launch({
      executablePath: browserPath(),
      chromiumSandbox: process.getuid?.() !== 0,
      args: ['--disable-gpu', '--force-color-profile=srgb']
    })
  })
  afterAll(() => browser?.close())
  return async (url, options) => {
    const context = await browser!.newContext({ viewport: { width: 1360, height: 900 }, ...options })
    const visitor = await Visitor.enter(context, url)
    onTestFinished(async ({ task }) => {
      if (task.result?.state === 'fail') console.error(`the page says: ${await visitor.says()}`)
      await context.close()
      visitor.complain()
    })
    return visitor
  }
}

/** A visitor with a separate browser context and the page open. */
export class Visitor {
  readonly page: Page
  readonly context: BrowserContext
  readonly #url: string
  readonly #complaints: string[] = []

  private constructor(page: Page, url: string) {
    this.page = page
    this.context = page.context()
    this.#url = url
    page.setDefaultTimeout(120_000)
    page.on('pageerror', (error) => this.#complaints.push(`error in the page: ${error.stack}`))
    // The console also reports Content-Security-Policy violations.
    page.on('console', (message) => {
      if (message.type() === 'error' && !REPORTED_ANSWER.test(message.text()))
        this.#complaints.push(`console: ${message.text()}`)
    })
    page.on('request', (request) => {
      if (!/^(blob|data):/.test(request.url()) && new URL(request.url()).origin !== new URL(url).origin)
        this.#complaints.push(`request to another server: ${request.url()}`)
    })
  }

  static async enter(context: BrowserContext, url: string): Promise<Visitor> {
    const visitor = new Visitor(await context.newPage(), url)
    await visitor.open()
    return visitor
  }

  /** Opens or reloads the page. */
  async open(): Promise<void> {
    await this.page.goto(this.#url)
  }

  /** @throws Error if the page logged errors or sent requests to another server */
  complain(): void {
    if (this.#complaints.length > 0) throw new Error(this.#complaints.join('\n'))
  }

  /** What the page shows of its state, for the report of a failed test. */
  async says(): Promise<string> {
    const texts = this.page.locator('#service, #notice, #progress-text, .field-error:not(:empty)').allInnerTexts()
    return JSON.stringify(await texts.catch((error: unknown) => String(error)))
  }

  /** Waits until the page shows that the model is ready. */
  async ready(): Promise<void> {
    await this.page.locator('#service[data-state=ready]').waitFor()
  }

  /** Fills in fields by their names in the request. */
  async write(fields: Record<string, string | number>): Promise<void> {
    for (const [name, value] of Object.entries(fields)) await this.page.locator(`#${name}`).fill(String(value))
  }

  async paint(fields: Record<string, string | number>): Promise<void> {
    await this.write(fields)
    await this.submit.click()
  }

  /**
   * Delays requests for pictures before they reach the server, to keep them in flight. @returns a function that
   * releases them
   */
  async hold(): Promise<() => Promise<void>> {
    let release = () => {}
    const released = new Promise<void>((resolve) => (release = resolve))
    await this.page.route('**/generate', async (route) => {
      await released
      // The page may have stopped the request meanwhile.
      await route.continue().catch(() => undefined)
    })
    return async () => {
      release()
      await this.page.unroute('**/generate')
    }
  }

  /** The picture on the easel, once one is finished. */
  get picture(): Locator {
    return this.page.locator('.frame[data-state=done] .layer').last()
  }

  /** The button that starts or queues the request. */
  get submit(): Locator {
    return this.page.locator('#generate')
  }

  get progress(): Locator {
    return this.page.locator('#progress-text')
  }

  get notice(): Locator {
    return this.page.getByRole('alert')
  }

  /** The pictures in the history, newest first. */
  get sketches(): Locator {
    return this.page.locator('.sketch')
  }

  /** Waits until the history has `count` pictures: each appears a moment after it is shown. */
  async keeps(count: number, timeout?: number): Promise<void> {
    await until(`the history has ${count} pictures`, async () => (await this.sketches.count()) === count, timeout)
  }

  /** Waits until no request runs. */
  async rests(): Promise<void> {
    await this.button('Stop').waitFor({ state: 'hidden' })
  }

  button(name: string | RegExp, exact = false): Locator {
    return this.page.getByRole('button', { name, exact })
  }

  /** Waits until `place` shows a text. */
  async sees(place: Locator, text: RegExp): Promise<void> {
    await place.filter({ hasText: text }).waitFor()
  }

  /** Downloads the picture on the easel through its link. */
  async download(): Promise<{ name: string; bytes: Buffer }> {
    const started = this.page.waitForEvent('download')
    await this.page.getByRole('link', { name: 'Download' }).click()
    const download = await started
    return { name: download.suggestedFilename(), bytes: await readFile(await download.path()) }
  }
}
