import { byId } from '../lib/dom.js'
import { recall, remember } from '../lib/remember.js'

const NAME = 'easel.theme'
const THEMES = ['auto', 'light', 'dark'] as const
type Theme = (typeof THEMES)[number]

const WORDS: Readonly<Record<Theme, { text: string; label: string }>> = {
  auto: { text: 'Auto', label: 'Auto theme' },
  light: { text: 'Light', label: 'Light theme' },
  dark: { text: 'Dark', label: 'Dark theme' }
}

/** Light or dark: the visitor's choice, else the system's. */
export function startTheme(): void {
  const button = byId('theme', HTMLButtonElement)
  const text = byId('theme-text', HTMLSpanElement)
  const remembered = recall<{ theme: Theme }>(NAME)?.theme
  let theme = THEMES.find((known) => known === remembered) ?? 'auto'
  const show = () => {
    if (theme === 'auto') delete document.documentElement.dataset['theme']
    else document.documentElement.dataset['theme'] = theme
    text.textContent = WORDS[theme].text
    button.setAttribute('aria-label', WORDS[theme].label)
  }
  button.addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!
    remember(NAME, { theme })
    show()
  })
  show()
}
