/** A request never names its way out of kubelet's folder, neither by words nor by links. */
import { mkdirSync, realpathSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { KubeletFolder } from '../../../csi/host/kubelet-paths.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const dir = realpathSync(temporaryFolder(t))
const real = path.join(dir, 'kubelet')
mkdirSync(path.join(real, 'pods/a'), { recursive: true })
mkdirSync(path.join(dir, 'outside'))
symlinkSync(path.join(dir, 'outside'), path.join(real, 'pods/leaves'))
symlinkSync('a', path.join(real, 'pods/stays'))
symlinkSync(path.join(dir, 'nowhere'), path.join(real, 'pods/dangles'))
symlinkSync(real, path.join(dir, 'linked'))
const folder = new KubeletFolder(path.join(dir, 'linked'))

t.equal(folder.inside(path.join(dir, 'linked/pods/a')), path.join(real, 'pods/a'), 'the folder itself may be a link')
t.equal(folder.inside(path.join(real, 'pods/a/mount')), path.join(real, 'pods/a/mount'), 'what is not there yet')
t.equal(folder.inside(`${real}//pods/./a/`), path.join(real, 'pods/a'))

const refused: [string, string, RegExp][] = [
  ['the folder itself', real, /outside/],
  ['another folder', path.join(dir, 'outside/x'), /outside/],
  ['one with the same beginning', `${real}-too/x`, /outside/],
  ['up again', `${real}/pods/../../outside`, /goes up/],
  ['up again, inside', `${real}/pods/../pods/a`, /goes up/],
  ['no absolute path', 'pods/a', /not absolute/],
  ['nothing', '', /not absolute/],
  ['a NUL', `${real}/pods/a\0b`, /no path/],
  ['longer than a path', `${real}/${'a/'.repeat(4096)}`, /no path/],
  ['a link that leaves', path.join(real, 'pods/leaves/x'), /leaves is a symbolic link/],
  ['a link at the end', path.join(real, 'pods/leaves'), /symbolic link/],
  ['a link that stays', path.join(real, 'pods/stays/x'), /symbolic link/],
  ['a link to nowhere', path.join(real, 'pods/dangles'), /symbolic link/],
]
for (const [name, asked, because] of refused)
  t.throws(() => folder.inside(asked), { code: 'mount-path', message: because }, name)
t.throws(() => new KubeletFolder(path.join(dir, 'missing')), { code: 'mount-path', message: /no such folder/ })
