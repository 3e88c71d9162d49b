/** What a node of Kubernetes is called here (SPEC.md K1): as there, where that is a name of ours. */
import { createHash } from 'node:crypto'
import { isName } from '../../cluster/api/names.ts'

const KEPT_LENGTH = 46
const DIGEST_LENGTH = 16

/** 1 to 63 of a-z, 0-9 and -; different names have different ones. */
export function nodeNameOf(kubernetesName: string): string {
  if (isName(kubernetesName) && !MADE.test(kubernetesName)) return kubernetesName
  const digest = createHash('sha256').update(kubernetesName).digest('hex').slice(0, DIGEST_LENGTH)
  return `${kubernetesName.slice(0, KEPT_LENGTH).replace(/[^a-z0-9-]/g, '-')}-${digest}`
}

/** One that looks like those that are made would be another one's. */
const MADE = /-[0-9a-f]{16}$/
