import { History } from './model/history.js'
import { Studio } from './studio.js'
import { startTheme } from './view/theme.js'

startTheme()
const studio = new Studio(await History.open())

// On a phone the focus would call up the keyboard.
if (matchMedia('(hover: hover)').matches) document.getElementById('prompt')?.focus()

document.addEventListener('keydown', (event) => {
  if (document.querySelector('dialog[open]') !== null) return
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    event.preventDefault()
    studio.submit()
  }
  if (event.key === 'Escape') studio.stop()
})
