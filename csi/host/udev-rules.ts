/**
 * Tells udev of this host to leave our devices alone: not to probe what is on them, not to watch them, not to have
 * systemd or udisks mount them. A probe would read a volume whose primary may be away, and hold it open while it waits.
 *
 * The rule goes by the backend that the kernel shows, so devices of others are as they were. It lies in /run, so a boot
 * forgets it; udevd reads its folders anew when they change. Numbered before the rules that probe (60).
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const UDEV_FOLDER = '/run/udev'
const FILE = '59-holdfast.rules'
const RULE = [
  'SUBSYSTEM=="block"', 'KERNEL=="nbd*"', 'ATTR{backend}=="holdfast-*"',
  'ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1"', 'ENV{SYSTEMD_READY}="0"', 'ENV{UDISKS_IGNORE}="1"',
  'OPTIONS:="nowatch"',
].join(', ')
export const UDEV_RULES = `# Written by holdfast: devices of its volumes are nobody else's to look into.\n${RULE}\n`

/**
 * @param folder  udev's of this host
 * @returns 'absent': no udevd runs here; or why it could not be written
 */
export function tellUdev(folder = UDEV_FOLDER): 'told' | 'absent' | { reason: string } {
  const rules = path.join(folder, 'rules.d')
  const file = path.join(rules, FILE)
  try {
    if (!existsSync(path.join(folder, 'control'))) return 'absent'
    if (existsSync(file) && readFileSync(file, 'utf8') === UDEV_RULES) return 'told'
    mkdirSync(rules, { recursive: true })
    // Another name than `*.rules` until it is whole.
    writeFileSync(`${file}.new`, UDEV_RULES, { mode: 0o644 })
    renameSync(`${file}.new`, file)
    return 'told'
  } catch (error) {
    return { reason: (error as NodeJS.ErrnoException).code ?? String(error) }
  }
}
