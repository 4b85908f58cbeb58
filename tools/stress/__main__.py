import sys

from tools.stress.run import main

sys.exit(main())
